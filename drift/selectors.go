package drift

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/slo"
)

// selection is one metric of a query with its matchers.
type selection struct {
	metric   string
	matchers []*labels.Matcher
}

// role is what a query of an SLI counts.
type role string

const (
	countsErrors role = "errors"
	countsGood   role = "good"
	countsTotal  role = "total"
)

const maxQuery = 64 << 10

var windowTemplate = regexp.MustCompile(`\{\{-?\s*\.\w+\s*-?\}\}`)

// selections lists what a query reads, once each. Templates such as {{.window}} stand for a duration.
func selections(query string) ([]selection, error) {
	if len(query) > maxQuery {
		return nil, fmt.Errorf("the query is longer than %d bytes", maxQuery)
	}
	if depth := strings.Count(query, "("); depth > 1000 {
		return nil, fmt.Errorf("the query has %d parentheses", depth)
	}
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(windowTemplate.ReplaceAllString(query, "5m"))
	if err != nil {
		return nil, fmt.Errorf("the query is not PromQL: %w", err)
	}
	var found []selection
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			found = append(found, selectionOf(v.LabelMatchers))
		}
		return nil
	})
	return once(found), nil
}

func selectionOf(matchers []*labels.Matcher) selection {
	var s selection
	for _, m := range matchers {
		switch {
		case m.Name == labels.MetricName && m.Type == labels.MatchEqual:
			s.metric = m.Value
		case m.Name == labels.BucketLabel:
			s.matchers = append(s.matchers, bucket(m))
		default:
			s.matchers = append(s.matchers, m)
		}
	}
	if base, ok := strings.CutSuffix(s.metric, "_bucket"); ok && len(s.matchers) > 0 {
		at := slices.IndexFunc(s.matchers, func(m *labels.Matcher) bool { return m.Name == labels.BucketLabel && m.Value == "+Inf" })
		if at >= 0 { // the last bucket holds what _count holds
			s.metric, s.matchers = base+"_count", slices.Delete(s.matchers, at, at+1)
		}
	}
	return s
}

// bucket brings the spellings of a bound together: 1, 1.0 and =~"1(\.0)?".
func bucket(m *labels.Matcher) *labels.Matcher {
	text := m.Value
	if m.Type == labels.MatchRegexp {
		text = strings.TrimSuffix(strings.ReplaceAll(text, `\.`, "."), "(.0)?")
	}
	bound, err := strconv.ParseFloat(text, 64)
	if err != nil || m.Type != labels.MatchEqual && m.Type != labels.MatchRegexp {
		return m
	}
	return labels.MustNewMatcher(labels.MatchEqual, m.Name, strconv.FormatFloat(bound, 'f', -1, 64))
}

func once(all []selection) []selection {
	var kept []selection
	for _, s := range all {
		if !slices.ContainsFunc(kept, s.equal) {
			kept = append(kept, s)
		}
	}
	return kept
}

func (s selection) equal(o selection) bool {
	return s.metric == o.metric && sameMatchers(s.matchers, o.matchers)
}

// bare leaves out what only says whose the series are: any label equal to the service's name, or to the tenant.
func (s selection) bare(o *slo.Objective) selection {
	s.matchers = slices.DeleteFunc(slices.Clone(s.matchers), func(m *labels.Matcher) bool {
		return m.Type == labels.MatchEqual && (m.Value == o.Service || o.Tenant.Static != "" && m.Value == o.Tenant.Static)
	})
	return s
}

// counted is what an objective reads in a role; nil where the contract does not say it in series.
func counted(o *slo.Objective, r role) []selection {
	var texts []string
	switch i := o.Indicator.(type) {
	case slo.Availability:
		texts = map[role][]string{countsErrors: {i.Errors}, countsTotal: {i.Total}}[r]
	case slo.Latency:
		all, good := latencySeries(i)
		texts = map[role][]string{countsErrors: {all, good}, countsGood: {good}, countsTotal: {all}}[r]
	}
	var found []selection
	for _, text := range texts {
		matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(text)
		if err != nil {
			return nil
		}
		found = append(found, selectionOf(matchers))
	}
	return once(found)
}

// latencySeries are the selectors of all events and of those that were fast enough.
func latencySeries(i slo.Latency) (all, good string) {
	name, rest, _ := strings.Cut(i.Metric, "{")
	if i.Native {
		return i.Metric, i.Metric
	}
	bound := i.Threshold.Seconds()
	if strings.HasSuffix(name, "_ms") || strings.HasSuffix(name, "_milliseconds") {
		bound = float64(i.Threshold) / float64(time.Millisecond)
	}
	rest = strings.TrimSuffix(rest, "}")
	count, matchers := "_count", strings.TrimLeft(strings.TrimSpace(rest)+`,le="`+slo.FormatNumber(bound)+`"`, ",")
	return name + count + "{" + rest + "}", name + "_bucket{" + matchers + "}"
}

func sameSelections(have, want []selection, o *slo.Objective) bool {
	if len(have) != len(want) {
		return false
	}
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h selection) bool { return h.bare(o).equal(w.bare(o)) }) {
			return false
		}
	}
	return true
}

func (s selection) String() string {
	matchers := append(slices.Clone(s.matchers), labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, s.metric))
	return (&parser.VectorSelector{Name: s.metric, LabelMatchers: matchers}).String()
}

func selectionsText(all []selection) string {
	var texts []string
	for _, s := range all {
		texts = append(texts, s.String())
	}
	slices.Sort(texts)
	return strings.Join(texts, " and ")
}

// compareQuery holds a query of an SLI against what the contract counts in that role.
func (s *sheet) compareQuery(o *slo.Objective, r role, query *node) {
	f := Fact{Subject: "query of " + string(r), There: query.pos, Remedy: "count the same series"}
	have, err := selections(query.str())
	want := counted(o, r)
	f.Want = selectionsText(want)
	switch {
	case err != nil:
		f.Verdict, f.Got, f.Rule = Unchecked, err.Error(), ruleSpecUnclear
	case want == nil:
		f.Verdict, f.Want, f.Got = Unchecked, indicatorText(o.Indicator), fmt.Sprintf("it counts %s events, and the contract does not", r)
	case len(have) == 0:
		f.Verdict, f.Got, f.Rule = Unchecked, "the query reads no series", ruleSpecUnclear
	default:
		f.Verdict, f.Got = verdictOf(sameSelections(have, want, o)), selectionsText(have)
	}
	s.put(o, f)
}
