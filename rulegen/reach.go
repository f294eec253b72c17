package rulegen

import (
	"fmt"
	"math"
	"strings"

	"github.com/slowburn/slowburn/slo"
)

// reachable refuses tiers that even a total outage can't fire. A hold (for) prevents nothing: an outage can outlast any.
func (r *resolver) reachable() {
	o := r.objective
	limit := o.Target.MaxBurnRate()
	var dead []int
	for k, t := range o.Policy.Tiers {
		if !(t.Factor < limit) {
			dead = append(dead, k)
		}
	}
	if len(dead) == 0 {
		return
	}
	var names []string
	for _, k := range dead {
		t := o.Policy.Tiers[k]
		names = append(names, fmt.Sprintf("%s above %sx", t.Name, slo.FormatNumber(t.Factor)))
	}
	r.refused = true
	r.findings = append(r.findings, slo.Finding{
		Rule: RuleUnreachable, Severity: slo.Error, Pos: o.Source(),
		Message: fmt.Sprintf("SLO %s alerts by tier %s, and a total outage of a %s target burns at %sx: it can never fire",
			o.ID(), strings.Join(names, " and "), o.Target, slo.FormatNumber(limit)),
		Remedy: r.reachableInstead(dead),
	})
}

// reachableInstead is what the contract can say: a threshold, which is for one tier, or a policy with lower factors.
func (r *resolver) reachableInstead(dead []int) string {
	o := r.objective
	limit := o.Target.MaxBurnRate()
	if len(dead) == 1 && o.Threshold == nil {
		return "write burnRateThreshold: " + SpellThreshold(*o, dead[0], belowLimit(*o, dead[0]))
	}
	for _, p := range slo.Policies() {
		if factors, ok := below(p, limit); ok {
			return fmt.Sprintf("write policy: '%s', whose tiers fire above %s", p.Name, strings.Join(factors, " and "))
		}
	}
	return "raise the target: below 75% no policy has an alert that can fire"
}

// below lists a policy's factors if an outage reaches them all.
func below(p slo.Policy, limit float64) (factors []string, ok bool) {
	for _, t := range p.Tiers {
		if !(t.Factor < limit) {
			return nil, false
		}
		factors = append(factors, slo.FormatNumber(t.Factor)+"x")
	}
	return factors, true
}

// belowLimit is a burn rate nine tenths of the way to that of a total outage, in two digits.
func belowLimit(o slo.Objective, tier int) float64 {
	rate := 0.9 * o.Target.MaxBurnRate()
	unit := math.Pow(10, math.Floor(math.Log10(rate))-1)
	rate = math.Floor(rate/unit) * unit
	if tier == 0 {
		return math.Round(rate*1e6) / 1e6
	}
	t := o.Policy.Tiers[tier]
	share := math.Floor(slo.BudgetSpent(rate, t.Long, o.Window)*1e4) / 1e4
	return slo.FactorFor(share, t.Long, o.Window)
}

// SpellThreshold is a burn rate of one tier as a contract's burnRateThreshold: bare for the fastest tier, else by the
// window that it is about.
func SpellThreshold(o slo.Objective, tier int, factor float64) string {
	if tier == 0 {
		return "'" + slo.FormatNumber(factor) + "x'"
	}
	long := o.Policy.Tiers[tier].Long
	return fmt.Sprintf("{ budget: '%s', within: '%s' }", slo.FormatPercent(slo.BudgetSpent(factor, long, o.Window)), slo.FormatWindow(long))
}
