package rulegen

import (
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn/slowburn/slo"
)

// Candidates matches the names of all metrics that Resolve may choose for objectives, or whose labels it looks at: what
// a Catalog must tell of a server that has too many to list.
func Candidates(objectives []slo.Objective) *labels.Matcher {
	var patterns []string
	exactly := func(texts ...string) {
		for _, text := range texts {
			if s, err := parseSelector(text); err == nil { // else Resolve says so
				base := regexp.QuoteMeta(strings.TrimSuffix(s.metric, "_bucket"))
				patterns = append(patterns, regexp.QuoteMeta(s.metric), base, base+"_bucket")
			}
		}
	}
	for _, o := range objectives {
		switch i := o.Indicator.(type) {
		case slo.Availability:
			exactly(i.Errors, i.Total)
		case slo.Latency:
			exactly(i.Metric)
		default:
			exactly(instrumentEvents)
			for _, p := range slices.Concat(requestCounters, latencyHistograms) {
				patterns = append(patterns, strings.TrimSuffix(strings.TrimPrefix(p.String(), "^"), "$"))
			}
		}
	}
	slices.Sort(patterns)
	return labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel, strings.Join(slices.Compact(patterns), "|"))
}
