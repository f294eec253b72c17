package backtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/slo"
)

// alwaysFiring is the share of the covered time from which an alert tells nobody anything.
const alwaysFiring = 0.5

// reasons are what holds a rule, gravest first. What the history is too short to tell is not told.
func (j *judged) reasons(s *subject, r Rule) []string {
	if j.tier.Factor >= s.Target.MaxBurnRate() {
		return []string{fmt.Sprintf("can never fire: a total outage burns %s times, not above %s",
			slo.FormatNumber(s.Target.MaxBurnRate()), slo.FormatNumber(j.tier.Factor))}
	}
	if r.Covered < 1 {
		return []string{fmt.Sprintf("not enough history: it covers %.0f%% of the %s window", 100*r.Covered, slo.FormatWindow(j.tier.Long))}
	}
	if window, ok := j.unseen(); ok {
		return []string{fmt.Sprintf("can never fire: there are events and never a burn rate over %s: samples stand too far apart for it, or the counts' labels differ", slo.FormatWindow(window))}
	}
	var all []string
	if most := j.ledger.busiest(j.tier.Long); most < float64(s.MinFailures) {
		all = append(all, fmt.Sprintf("can never fire: the busiest %s has %.0f events, and %d must fail",
			slo.FormatWindow(j.tier.Long), most, s.MinFailures))
	}
	if share := j.firing(); share > alwaysFiring {
		all = append(all, fmt.Sprintf("fires %.0f%% of the time", 100*share))
	}
	if rate := perWeek(j.sum.outside-j.sum.cold, j.ledger.coveredFor()); j.tier.Severity == "page" && rate > s.trial.opts.maxPages() {
		all = append(all, fmt.Sprintf("pages %.1f times a week outside incidents, more than %s",
			rate, slo.FormatNumber(s.trial.opts.maxPages())))
	}
	return all
}

// unseen finds the window that never has a burn rate, if there is one.
func (j *judged) unseen() (time.Duration, bool) {
	known := func(v float64) bool { return !evaluator.Absent(v) }
	if !slices.ContainsFunc(j.long, known) {
		return j.tier.Long, true
	}
	return j.tier.Short, !slices.ContainsFunc(j.short, known)
}

// firing is the share of the covered time in which the alert fires.
func (j *judged) firing() float64 {
	ticks := 0
	for _, f := range j.firings {
		end := j.ledger.ticks.N
		if !f.End.IsZero() {
			end = j.ledger.tick(f.End)
		}
		ticks += end - j.ledger.tick(f.Start)
	}
	return float64(ticks) / float64(max(1, j.ledger.covered))
}
