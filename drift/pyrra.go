package drift

import (
	"slices"
	"strings"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// takePyrra adds a Pyrra objective. It has no field for the service: its labels, its name and the matchers of
// its series may tell.
func (s *specs) takePyrra(n *node) {
	id := belonging{name: n.get("metadata", "name").str()}
	labels := n.get("metadata", "labels")
	for _, key := range []string{"pyrra.dev/service", "app.kubernetes.io/name", "service", "app"} {
		id.services = append(id.services, labels.get(key).strings()...)
	}
	for _, m := range pyrraMetrics(n) {
		found, err := selections(m.query.str())
		if err != nil {
			continue
		}
		for _, sel := range found {
			for _, matcher := range sel.matchers {
				if s.contract.ours(belonging{services: []string{matcher.Value}}) {
					id.services = append(id.services, matcher.Value)
				}
			}
		}
	}
	slices.Sort(id.services)
	id.services = slices.Compact(id.services)
	s.add(&s.pyrra, n, id)
}

// pyrraMetric is one series selector of an indicator.
type pyrraMetric struct {
	role  role
	query *node
}

func pyrraMetrics(n *node) []pyrraMetric {
	indicator := n.get("spec", "indicator")
	var all []pyrraMetric
	for _, m := range []pyrraMetric{
		{countsErrors, indicator.get("ratio", "errors", "metric")},
		{countsTotal, indicator.get("ratio", "total", "metric")},
		{countsGood, indicator.get("latency", "success", "metric")},
		{countsTotal, indicator.get("latency", "total", "metric")},
		{countsTotal, indicator.get("latencyNative", "total", "metric")},
	} {
		if m.query != nil {
			all = append(all, m)
		}
	}
	return all
}

func (s *specs) comparePyrra(sp *spec) {
	o, on := sp.objective, &s.pyrra
	on.compareTarget(o, sp.get("spec", "target"), sp.get("spec").or(sp.node), 100)
	window := sp.get("spec", "window")
	d, err := slo.ParseWindow(window.str())
	on.put(o, Fact{Subject: "SLO window", Verdict: verdictOf(err == nil && d == o.Window), Want: slo.FormatWindow(o.Window), Got: window.str(), There: window.at(sp.node),
		Remedy: "make both say the same"})
	metrics := pyrraMetrics(sp.node)
	for _, m := range metrics {
		on.compareQuery(o, m.role, m.query)
	}
	if len(metrics) == 0 {
		on.put(o, Fact{Subject: "indicator", Verdict: Unchecked, Want: indicatorText(o.Indicator), Got: "it is neither a ratio nor a latency", There: sp.get("spec", "indicator").at(sp.node)})
	}
	s.comparePyrraLatency(sp)
	s.comparePyrraTiers(sp, d)
}

// comparePyrraLatency compares the bound of a native histogram, which stands beside the metric.
func (s *specs) comparePyrraLatency(sp *spec) {
	bound := sp.get("spec", "indicator", "latencyNative", "latency")
	latency, ok := sp.objective.Indicator.(slo.Latency)
	if bound == nil || !ok {
		return
	}
	d, err := slo.ParseWindow(bound.str())
	s.pyrra.put(sp.objective, Fact{Subject: "latency threshold", Verdict: verdictOf(err == nil && d == latency.Threshold), Want: latency.Threshold.String(),
		Got: bound.str(), There: bound.pos, Remedy: "make both say the same"})
}

// pyrraTiers is Pyrra's table for an SLO's window: it scales the one of 28 days, and rounds to minutes.
func pyrraTiers(window time.Duration) []slo.Tier {
	part := func(of time.Duration) time.Duration {
		return time.Duration(float64(window) * float64(of) / float64(28*24*time.Hour)).Round(time.Minute)
	}
	const day = 24 * time.Hour
	return []slo.Tier{
		{Long: part(time.Hour), Short: part(5 * time.Minute), Factor: 14, For: part(2 * time.Minute)},
		{Long: part(6 * time.Hour), Short: part(30 * time.Minute), Factor: 7, For: part(15 * time.Minute)},
		{Long: part(day), Short: part(2 * time.Hour), Factor: 2, For: part(time.Hour)},
		{Long: part(4 * day), Short: part(6 * time.Hour), Factor: 1, For: part(3 * time.Hour)},
	}
}

func (s *specs) comparePyrraTiers(sp *spec, window time.Duration) {
	o, alerting := sp.objective, sp.get("spec", "alerting")
	off := alerting.get("disabled").truth() || alerting.get("burnrates") != nil && !alerting.get("burnrates").truth()
	table := pyrraTiers(window)
	for _, t := range o.Policy.Tiers {
		f := Fact{Subject: t.Name + " tier", Tier: t.Name, Want: times(t.Factor) + " over " + pair(t), There: alerting.at(sp.node)}
		same := slices.ContainsFunc(table, func(row slo.Tier) bool {
			return row.Long == t.Long && row.Short == t.Short && equalNumbers(row.Factor, t.Factor)
		})
		switch {
		case off:
			f.Verdict, f.Remedy = Missing, "enable the alerts"
		case same:
			f.Verdict, f.Got = Same, f.Want
		default:
			f.Verdict, f.Got = NotRepresentable, "windows and factors follow from the SLO's window there: "+tableText(table)
		}
		s.pyrra.put(o, f)
	}
}

func tableText(table []slo.Tier) string {
	var rows []string
	for _, t := range table {
		rows = append(rows, times(t.Factor)+" over "+pair(t))
	}
	return strings.Join(rows, ", ")
}
