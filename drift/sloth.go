package drift

import (
	"fmt"
	"slices"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// takeSloth adds the SLOs of a Sloth file, or of the spec of its custom resource: they differ in how keys are
// spelled.
func (s *specs) takeSloth(n *node) {
	for _, item := range n.get("slos").items() {
		s.add(&s.sloth, item, belonging{
			services: n.get("service").strings(),
			slos:     s.slothName(n.get("service").str(), item.get("name").str()),
			name:     item.get("name").str(),
		})
	}
}

// slothName is the SLO's own name where the contract has it too; else its words decide.
func (s *specs) slothName(service, name string) []string {
	if s.contract.objective(service, name) != nil {
		return []string{name}
	}
	return nil
}

// slothTier is one pair of windows in Sloth's table, which its command's flags replace as a whole.
type slothTier struct {
	severity    string // page or ticket
	long, short time.Duration
	spent       float64 // share of the budget
}

// slothTiers is the table that Sloth brings along.
var slothTiers = []slothTier{
	{"page", time.Hour, 5 * time.Minute, 0.02},
	{"page", 6 * time.Hour, 30 * time.Minute, 0.05},
	{"ticket", 24 * time.Hour, 2 * time.Hour, 0.10},
	{"ticket", 72 * time.Hour, 6 * time.Hour, 0.10},
}

func (s *specs) compareSloth(sp *spec) {
	o, on := sp.objective, &s.sloth
	on.compareTarget(o, sp.get("objective"), sp.node, 100)
	on.put(o, Fact{Subject: "SLO window", Verdict: Unchecked, Want: slo.FormatWindow(o.Window), Got: "it is a flag of Sloth's command", There: sp.pos})
	s.compareSlothQueries(sp)
	for _, t := range o.Policy.Tiers {
		s.compareSlothTier(sp, t)
	}
	for _, row := range slothTiers {
		known := slices.ContainsFunc(o.Policy.Tiers, func(t slo.Tier) bool { return t.Long == row.long && t.Short == row.short })
		if !known && !slothDisabled(sp, row.severity) {
			f := Fact{Subject: row.severity + " alert", Service: o.Service, SLO: o.Name, Verdict: Orphan, There: slothAlert(sp, row.severity).at(sp.get("alerting").or(sp.node)),
				Got:    fmt.Sprintf("%s over %s/%s, which Sloth adds", times(slo.FactorFor(row.spent, row.long, o.Window)), slo.FormatWindow(row.long), slo.FormatWindow(row.short)),
				Remedy: "disable this alert there, or choose a policy that has it"}
			on.put(nil, f)
		}
	}
}

func (s *specs) compareSlothQueries(sp *spec) {
	o, on := sp.objective, &s.sloth
	events := sp.get("sli", "events")
	if events == nil {
		on.put(o, Fact{Subject: "indicator", Verdict: Unchecked, Want: indicatorText(o.Indicator), Got: "it is a ready-made ratio or a plugin's", There: sp.get("sli").at(sp.node)})
		return
	}
	for _, q := range []struct {
		keys []string
		role role
	}{{[]string{"error_query", "errorQuery"}, countsErrors}, {[]string{"total_query", "totalQuery"}, countsTotal}} {
		query := events.get(q.keys[0]).or(events.get(q.keys[1]))
		if query == nil {
			on.put(o, Fact{Subject: "query of " + string(q.role), Verdict: Unchecked, Got: q.keys[0] + " is not there", There: events.pos, Rule: ruleSpecUnclear})
			continue
		}
		on.compareQuery(o, q.role, query)
	}
}

func (s *specs) compareSlothTier(sp *spec, t slo.Tier) {
	o := sp.objective
	f := Fact{Subject: t.Name + " tier", Tier: t.Name, Want: times(t.Factor) + " over " + pair(t), There: sp.get("alerting").at(sp.node)}
	at := slices.IndexFunc(slothTiers, func(row slothTier) bool { return row.long == t.Long && row.short == t.Short })
	if at < 0 {
		f.Verdict, f.Got = NotRepresentable, "the windows are the same for all SLOs there, and these are none of them"
		s.sloth.put(o, f)
		return
	}
	row := slothTiers[at]
	if slothDisabled(sp, row.severity) {
		f.Verdict, f.There, f.Remedy = Missing, slothAlert(sp, row.severity).pos, "enable the "+row.severity+" alert"
	} else {
		factor := slo.FactorFor(row.spent, row.long, o.Window)
		f.Verdict, f.Got, f.Remedy = verdictOf(equalNumbers(factor, t.Factor)), times(factor)+" over "+pair(t), "make both say the same"
	}
	s.sloth.put(o, f)
}

func slothAlert(sp *spec, severity string) *node {
	alerting := sp.get("alerting")
	return alerting.get(severity + "_alert").or(alerting.get(severity + "Alert"))
}

func slothDisabled(sp *spec, severity string) bool {
	return slothAlert(sp, severity).get("disable").truth()
}
