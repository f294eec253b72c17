package rulegen

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn/slowburn/slo"
)

// Catalog lists the metrics that live or recorded series have, each with its label names. A nil Catalog
// means that nothing is known, and conventions decide.
type Catalog map[string][]string

// The names people really use, most common first; TYPESCRIPT code in the wild was counted for them.
var (
	requestCounters = []*regexp.Regexp{
		regexp.MustCompile(`^(.+_)?http_requests?_total$`),
		regexp.MustCompile(`^(.+_)?http_request_duration_(seconds|milliseconds|ms)_count$`),
		regexp.MustCompile(`^http_server_request_duration(_seconds)?_count$`),
		regexp.MustCompile(`^http_server_duration(_milliseconds)?_count$`),
	}
	latencyHistograms = []*regexp.Regexp{
		regexp.MustCompile(`^(.+_)?http_request_duration_(seconds|milliseconds|ms)_bucket$`),
		regexp.MustCompile(`^http_server_request_duration(_seconds)?_bucket$`),
		regexp.MustCompile(`^http_server_duration(_milliseconds)?_bucket$`),
	}
	statusLabels = []string{"status_code", "status", "code", "http_response_status_code", "http_status_code"}
	tenantLabels = []string{"tenant_id", "tenant", "tenantId", "org_id", "organization_id", "organization", "project_id"}
)

// Metrics of our own instrument library.
const (
	instrumentEvents = "error_budget_events_total"
	instrumentTenant = "tenant"
)

// The findings of Resolve.
const (
	RuleAssumed     = "SB060"
	RuleNoMetric    = "SB061"
	RuleUnreachable = "SB063"
)

// Resolve settles what the contracts leave open: the metric of an Unnamed indicator, the status label of a
// counter, the tenant label. What it takes from the catalog it takes silently, what it must assume it
// reports, and what the catalog contradicts it refuses. It refuses a policy of which a tier can never fire, too.
func Resolve(objectives []slo.Objective, catalog Catalog) ([]slo.Objective, []slo.Finding) {
	var settled []slo.Objective
	var findings []slo.Finding
	for _, o := range objectives {
		r := resolver{catalog: catalog, objective: &o}
		r.indicator()
		r.tenant()
		r.reachable()
		findings = append(findings, r.findings...)
		if !r.refused {
			settled = append(settled, o)
		}
	}
	slo.SortFindings(findings)
	return settled, findings
}

type resolver struct {
	catalog   Catalog
	objective *slo.Objective
	findings  []slo.Finding
	refused   bool
}

func (r *resolver) indicator() {
	switch i := r.objective.Indicator.(type) {
	case slo.Unnamed:
		r.unnamed(i)
	case slo.Availability:
		r.availability(i)
	case slo.Latency:
		r.latency(i)
	case nil:
		r.unnamed(slo.Unnamed{})
	default:
		panic(fmt.Sprintf("rulegen: indicator %T", i))
	}
}

func (r *resolver) unnamed(i slo.Unnamed) {
	if i.Instrument {
		r.instrument()
		return
	}
	if i.Threshold > 0 {
		metric := r.find(latencyHistograms, "http_request_duration_seconds_bucket")
		r.objective.Indicator = slo.Latency{Metric: strings.TrimSuffix(metric, "_bucket"), Threshold: i.Threshold}
		return
	}
	if metric := r.find(requestCounters, "http_requests_total"); metric != "" {
		r.availability(slo.Availability{Total: metric})
	}
}

// instrument counts by our own library's events. Its bad ones are those that failed or, for a latency SLO,
// were too slow, which the histogram beside them does not know of failures.
func (r *resolver) instrument() {
	total := selector{metric: instrumentEvents}.matching(labels.MatchEqual, "slo", r.objective.Name)
	r.objective.Indicator = slo.Availability{Errors: total.matching(labels.MatchEqual, "outcome", "bad").String(), Total: total.String()}
	if !r.objective.Tenant.IsZero() {
		r.objective.Tenant.Label = instrumentTenant
	}
}

// find is the first conventional metric in the catalog. Without a catalog it is the convention itself, with
// a finding that says so; a catalog that has none of them refuses the objective.
func (r *resolver) find(names []*regexp.Regexp, convention string) string {
	if r.catalog == nil {
		r.assume("names no metric; %s is assumed", strings.TrimSuffix(convention, "_bucket"))
		return convention
	}
	for _, pattern := range names {
		var hits []string
		for metric := range r.catalog {
			if pattern.MatchString(metric) {
				hits = append(hits, metric)
			}
		}
		if len(hits) > 0 {
			return slices.Min(hits)
		}
	}
	r.refuse("names no metric, and none of the known series is a request metric such as "+convention,
		"write errors= and total=, or metric= and threshold=")
	return ""
}

func (r *resolver) availability(i slo.Availability) {
	if i.Errors == "" && i.Total != "" {
		total, err := parseSelector(i.Total)
		if err != nil {
			r.refuse(err.Error(), "write a PromQL selector such as http_requests_total")
			return
		}
		i.Errors = total.matching(labels.MatchRegexp, r.statusLabel(total.metric), "5..").String()
	}
	r.objective.Indicator = i
	r.mustExist(i.Total)
}

// latency turns to the native form where the catalog has the histogram itself and no buckets of it.
func (r *resolver) latency(i slo.Latency) {
	s, err := parseSelector(i.Metric)
	if err != nil {
		r.refuse(err.Error(), "write the histogram's name, without _bucket")
		return
	}
	if base, ok := strings.CutSuffix(s.metric, "_bucket"); ok {
		s = s.named(base)
		i.Metric = s.String()
	}
	_, bare := r.catalog[s.metric]
	_, classic := r.catalog[s.metric+"_bucket"]
	i.Native = i.Native || bare && !classic
	r.objective.Indicator = i
	if !i.Native {
		r.mustExist(s.named(s.metric + "_bucket").String())
	}
}

func (r *resolver) statusLabel(metric string) string {
	if r.catalog == nil {
		r.assume("names no status label; %s is assumed", statusLabels[0])
		return statusLabels[0]
	}
	if label := first(statusLabels, r.catalog[metric]); label != "" {
		return label
	}
	r.refuse(fmt.Sprintf("metric %s has no status label (looked for %s)", metric, strings.Join(statusLabels, ", ")), "write errors=")
	return statusLabels[0]
}

// tenant finds the tenant label: the contract's own word first, then the known names.
func (r *resolver) tenant() {
	t := &r.objective.Tenant
	if t.Label != "" || t.IsZero() || r.refused {
		return
	}
	own := ownWord(t.Dynamic)
	present := r.catalog[r.metric()]
	if r.catalog == nil {
		t.Label = own
		if own == "" {
			t.Label = tenantLabels[0]
		}
		r.assume("names no tenant label; %s is assumed", t.Label)
		return
	}
	if t.Label = first(append([]string{own}, tenantLabels...), present); t.Label == "" {
		r.refuse(fmt.Sprintf("none of the labels of %s is a tenant's (looked for %s)", r.metric(), strings.Join(tenantLabels, ", ")),
			"write tenantLabel=")
	}
}

// ownWord reads context.tenantId as tenant_id.
func ownWord(expression string) string {
	words := regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`).FindAllString(expression, -1)
	if len(words) == 0 {
		return ""
	}
	var snake strings.Builder
	for i, c := range words[len(words)-1] {
		if unicode.IsUpper(c) && i > 0 {
			snake.WriteByte('_')
		}
		snake.WriteRune(unicode.ToLower(c))
	}
	return snake.String()
}

// metric is the series name whose labels tell the tenant label.
func (r *resolver) metric() string {
	switch i := r.objective.Indicator.(type) {
	case slo.Availability:
		s, _ := parseSelector(i.Total)
		return s.metric
	case slo.Latency:
		s, _ := parseSelector(i.Metric)
		if i.Native {
			return s.metric
		}
		return s.metric + "_count"
	}
	return ""
}

func (r *resolver) mustExist(sel string) {
	s, err := parseSelector(sel)
	if err != nil {
		r.refuse(err.Error(), "write a PromQL selector such as http_requests_total")
		return
	}
	if _, ok := r.catalog[s.metric]; r.catalog != nil && !ok {
		r.findings = append(r.findings, slo.Finding{
			Rule: RuleNoMetric, Severity: slo.Warning, Pos: r.objective.Source(),
			Message: fmt.Sprintf("SLO %s reads %s, and no such series is known", r.objective.ID(), s.metric),
			Remedy:  "check the name against the service's /metrics",
		})
	}
}

func (r *resolver) assume(format string, args ...any) {
	r.findings = append(r.findings, slo.Finding{
		Rule: RuleAssumed, Severity: slo.Warning, Pos: r.objective.Source(),
		Message: "SLO " + r.objective.ID() + " " + fmt.Sprintf(format, args...),
		Remedy:  "write it in the contract, or give live series or history to find it in",
	})
}

func (r *resolver) refuse(what, remedy string) {
	r.refused = true
	r.findings = append(r.findings, slo.Finding{
		Rule: RuleNoMetric, Severity: slo.Error, Pos: r.objective.Source(),
		Message: "SLO " + r.objective.ID() + ": " + what, Remedy: remedy,
	})
}

func first(wanted, present []string) string {
	for _, w := range wanted {
		if w != "" && slices.Contains(present, w) {
			return w
		}
	}
	return ""
}
