package drift

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// Datadog refuses burn-rate monitors with a long window outside of these.
const (
	shortestLongWindow = time.Hour
	longestLongWindow  = 48 * time.Hour
)

// compareMonitors looks for each tier among the burn-rate monitors, and for thresholds that other monitors hide.
func (d *datadog) compareMonitors() {
	for _, m := range d.monitors {
		d.judge(m)
	}
	for i := range d.contract.Objectives {
		o := &d.contract.Objectives[i]
		for _, t := range o.Policy.Tiers {
			d.compareTier(o, t)
		}
	}
	for _, m := range d.monitors {
		switch {
		case !m.readable:
			d.unreadableMonitor(m)
		case m.query.kind == burnRateQuery && !m.used:
			d.strayMonitor(m)
		case m.query.kind == budgetQuery:
			d.budgetMonitor(m)
		case m.query.kind == metricQuery:
			d.metricMonitor(m)
		}
	}
}

// objectiveOf is the objective that a burn-rate or budget monitor is about: by the SLO's id or, where the
// export lacks that SLO, by the monitor's own tags and name.
func (d *datadog) objectiveOf(m *datadogMonitor) (o *slo.Objective, exported bool) {
	for _, s := range d.slos {
		if s.id == m.query.slo && s.id != "" {
			return s.objective, true
		}
	}
	o, _ = d.contract.link(m.belonging)
	return o, false
}

// judge finds the faults that a monitor has whatever the contract says.
func (d *datadog) judge(m *datadogMonitor) {
	query := m.get("query")
	critical := m.get("options", "thresholds", "critical")
	if number, ok := critical.number(); m.readable && ok && !equalNumbers(number, m.query.threshold) {
		d.find(ruleDatadogConflict, slo.Error, query.pos, fmt.Sprintf("Datadog monitor %q compares with %s in its query, and its options.thresholds.critical at %s is %s",
			m.belonging.name, slo.FormatNumber(m.query.threshold), critical.pos, slo.FormatNumber(number)), "make both say the same")
	} else if m.readable && critical != nil && !ok {
		d.find(ruleDatadogConflict, slo.Error, critical.pos, fmt.Sprintf("Datadog monitor %q has an options.thresholds.critical that is no number", m.belonging.name), "write a number")
	}
	if !m.readable || m.query.kind != burnRateQuery {
		return
	}
	if m.query.long < shortestLongWindow || m.query.long > longestLongWindow {
		d.find(ruleDatadogConflict, slo.Error, query.pos, fmt.Sprintf("Datadog monitor %q has a long window of %s, and Datadog takes 1h to 48h",
			m.belonging.name, slo.FormatWindow(m.query.long)), "write a long window of 1h to 48h")
	}
	if limit, ok := d.highestRate(m); ok && m.query.threshold >= limit {
		d.find(ruleDatadogConflict, slo.Error, query.pos, fmt.Sprintf("Datadog monitor %q waits for a burn rate of %s, and a total outage burns at %s: it can never fire",
			m.belonging.name, times(m.query.threshold), times(limit)), "write less than "+times(limit))
	}
}

// highestRate is what a total outage burns by the target that the SLO has in Datadog.
func (d *datadog) highestRate(m *datadogMonitor) (float64, bool) {
	for _, s := range d.slos {
		if s.id != m.query.slo || s.id == "" {
			continue
		}
		_, percent := s.promise(m.query.over)
		if percent == nil {
			return 0, false
		}
		target, err := slo.ParseTarget(slo.FormatNumber(*percent) + "%")
		return target.MaxBurnRate(), err == nil
	}
	return 0, false
}

// compareTier looks for one tier: by both windows, else by the long one.
func (d *datadog) compareTier(o *slo.Objective, t slo.Tier) {
	want := fmt.Sprintf("%s over %s", times(t.Factor), pair(t))
	f := Fact{Subject: t.Name + " tier", Tier: t.Name, Want: want}
	if reason := tierNotInDatadog(o, t); reason != "" {
		f.Verdict, f.Got = NotRepresentable, reason
		d.put(o, f)
		return
	}
	exact, near := d.burnRateMonitors(o, t)
	switch {
	case len(exact) > 0:
		for _, m := range exact {
			d.compareBurnRate(o, t, m)
		}
	case len(near) > 0:
		for _, m := range near {
			d.compareBurnRate(o, t, m)
		}
	case len(d.monitors) == 0:
		f.Verdict, f.Got = Unchecked, "the export holds no monitor"
		d.put(o, f)
	default:
		f.Verdict, f.Remedy = Missing, "create a burn-rate monitor with these windows"
		d.put(o, f)
	}
}

func tierNotInDatadog(o *slo.Objective, t slo.Tier) string {
	switch {
	case !slices.Contains(datadogTimeframes, o.Window):
		return "no SLO of this period can exist there"
	case t.Long < shortestLongWindow || t.Long > longestLongWindow:
		return "the long window of a monitor is 1h to 48h there"
	}
	return ""
}

// burnRateMonitors are the monitors of an objective with a tier's windows, and those that share the long one only.
func (d *datadog) burnRateMonitors(o *slo.Objective, t slo.Tier) (exact, near []*datadogMonitor) {
	for _, m := range d.monitors {
		if !m.readable || m.query.kind != burnRateQuery || m.query.long != t.Long {
			continue
		}
		if owner, _ := d.objectiveOf(m); owner != o {
			continue
		}
		if m.query.short == t.Short {
			exact = append(exact, m)
		} else {
			near = append(near, m)
		}
	}
	return exact, near
}

func (d *datadog) compareBurnRate(o *slo.Objective, t slo.Tier, m *datadogMonitor) {
	m.used = true
	q := m.query
	at := m.get("query").pos
	if _, exported := d.objectiveOf(m); !exported {
		d.find(ruleDatadogLink, slo.Note, at, fmt.Sprintf("Datadog monitor %q is about SLO %s, which is not in the export; it is taken for %s by its tags or name",
			m.belonging.name, q.slo, o.ID()), "export the SLO too")
	}
	put := func(subject, want, got string, same bool) {
		d.put(o, Fact{Subject: subject, Tier: t.Name, Verdict: verdictOf(same), Want: want, Got: got, There: at, Rule: ruleDatadogMonitor, Remedy: "make both say the same"})
	}
	put("threshold of the "+t.Name+" tier", times(t.Factor), times(q.threshold), equalNumbers(q.threshold, t.Factor) && (q.operator == ">" || q.operator == ">="))
	put("short window of the "+t.Name+" tier", slo.FormatWindow(t.Short), windowOrNone(q.short), q.short == t.Short)
	put("period of the "+t.Name+" tier's monitor", slo.FormatWindow(o.Window), slo.FormatWindow(q.over), q.over == o.Window)
}

func windowOrNone(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	return slo.FormatWindow(d)
}

// strayMonitor is a burn-rate monitor that no tier asks for.
func (d *datadog) strayMonitor(m *datadogMonitor) {
	q := m.query
	got := fmt.Sprintf("%s over %s/%s", times(q.threshold), slo.FormatWindow(q.long), windowOrNone(q.short))
	f := Fact{Subject: fmt.Sprintf("monitor %q", m.belonging.name), There: m.get("query").pos}
	switch o, exported := d.objectiveOf(m); {
	case o != nil:
		f.Verdict, f.Got, f.Service, f.SLO = Orphan, got, o.Service, o.Name
		f.Remedy = "delete it there, or write a policy with this tier"
	case exported:
		f.Verdict, f.Got = Unchecked, "its SLO belongs to no contract"
	case d.contract.ours(m.belonging):
		f.Verdict, f.Got, f.Rule = Unchecked, "its SLO "+q.slo+" is not in the export", ruleDatadogReference
		f.Remedy = "export the SLO too"
	default:
		f.Verdict, f.Got = Unchecked, "its SLO "+q.slo+" is not in the export, and it names none of the services here"
	}
	d.put(nil, f)
}

// budgetMonitor alerts on a share of the budget, for which a contract has no word: only its period can be held
// against the contract.
func (d *datadog) budgetMonitor(m *datadogMonitor) {
	o, exported := d.objectiveOf(m)
	at := m.get("query").pos
	if o == nil {
		f := Fact{Subject: fmt.Sprintf("monitor %q", m.belonging.name), Verdict: Unchecked, Got: "its SLO belongs to no contract", There: at}
		if !exported && d.contract.ours(m.belonging) {
			f.Got, f.Rule, f.Remedy = "its SLO "+m.query.slo+" is not in the export", ruleDatadogReference, "export the SLO too"
		}
		d.put(nil, f)
		return
	}
	if slices.Contains(datadogTimeframes, o.Window) {
		d.put(o, Fact{Subject: "period of a budget monitor", Verdict: verdictOf(m.query.over == o.Window), Want: slo.FormatWindow(o.Window),
			Got: slo.FormatWindow(m.query.over), There: at, Rule: ruleDatadogMonitor, Remedy: "make both say the same"})
	}
	d.put(o, Fact{Subject: "budget monitor", Verdict: Unchecked, Got: fmt.Sprintf("it alerts when %s%% of the budget is spent, and contracts alert on burn rates", slo.FormatNumber(m.query.threshold)), There: at})
}

// metricMonitor is one that may hide an SLO's threshold: an error ratio of a service that has a contract.
func (d *datadog) metricMonitor(m *datadogMonitor) {
	at := m.get("query").pos
	id := m.belonging
	id.alone = true
	o, _ := d.contract.link(id)
	q := m.query
	ratio := q.threshold
	if q.percent {
		ratio /= 100
	}
	f := Fact{Subject: fmt.Sprintf("threshold of monitor %q", m.belonging.name), There: at}
	switch {
	case o == nil:
		f.Verdict, f.Got = Unchecked, "it can't be told which SLO it is about"
		d.put(nil, f)
	case !q.ratio || ratio <= 0 || ratio >= 1 || q.operator == "<" || q.operator == "<=":
		f.Verdict, f.Got = Unchecked, "it does not compare a ratio of errors"
		d.put(o, f)
	default:
		f.Verdict, f.Want = verdictOf(hasErrorRatio(o, ratio, q.last)), errorRatios(o)
		f.Got = fmt.Sprintf("%s of events (a burn rate of %s) over %s", slo.FormatPercent(ratio), times(o.Target.BurnRate(ratio)), windowOrNone(q.last))
		f.Rule, f.Remedy = ruleDatadogMonitor, "replace it with burn-rate monitors of the SLO"
		d.put(o, f)
	}
}

// hasErrorRatio reports whether a tier alerts at this error ratio over this window.
func hasErrorRatio(o *slo.Objective, ratio float64, window time.Duration) bool {
	return slices.ContainsFunc(o.Policy.Tiers, func(t slo.Tier) bool {
		return equalNumbers(o.Target.ErrorRatio(t.Factor), ratio) && (window == 0 || window == t.Long || window == t.Short)
	})
}

// errorRatios lists at which error ratios an objective's tiers alert.
func errorRatios(o *slo.Objective) string {
	var texts []string
	for _, t := range o.Policy.Tiers {
		texts = append(texts, fmt.Sprintf("%s over %s", slo.FormatPercent(o.Target.ErrorRatio(t.Factor)), pair(t)))
	}
	return strings.Join(texts, ", ")
}

// unreadableMonitor is worth a word only where it is one of ours.
func (d *datadog) unreadableMonitor(m *datadogMonitor) {
	f := Fact{Subject: fmt.Sprintf("monitor %q", m.belonging.name), Verdict: Unchecked, Got: "its query has no threshold that could be read", There: m.get("query").pos}
	if m.get("type").str() == "slo alert" {
		f.Rule, f.Remedy = ruleDatadogReference, "write a query such as burn_rate(\"ID\").over(\"30d\").long_window(\"1h\").short_window(\"5m\") > 14.4"
	}
	d.put(nil, f)
}
