package backtest

import (
	"slices"
	"time"

	"github.com/slowburn/slowburn/evaluator"
)

// infer finds the periods in which a tenant burnt faster than the objective allows and spent at least the share of the
// budget that was asked for. Breaks no longer than the shortest window do not end a period. What an incident that was
// given explains is left to it.
func (s *subject) infer(name string, given []numbered, l *ledger, c *columns) []numbered {
	if s.trial.opts.Infer <= 0 {
		return nil
	}
	var all []numbered
	for _, p := range burning(c.burn[l.step][name], int(l.step/l.ticks.Interval)) {
		// The first window that shows a failure ends at most one tick after it, the last one a window after.
		from, to := l.ticks.At(max(0, p.from-1)).UTC(), l.ticks.At(p.to).Add(-l.step).UTC()
		if to.After(from) && l.spent(from, to) >= s.trial.opts.Infer && !overlaps(given, from, to) {
			all = append(all, s.inferred(name, from, to))
		}
	}
	return all
}

func (s *subject) inferred(tenant string, from, to time.Time) numbered {
	t := s.trial
	i := numbered{Incident{Service: s.Service, SLO: s.Name, Tenant: tenant, Start: from, End: to, Infer: true}, len(t.incidents)}
	t.incidents = append(t.incidents, i.Incident)
	s.incidents = append(s.incidents, i)
	return i
}

func overlaps(given []numbered, from, to time.Time) bool {
	return slices.ContainsFunc(given, func(i numbered) bool { return i.Start.Before(to) && i.End.After(from) })
}

// period is a run of ticks; to is the first after it.
type period struct{ from, to int }

func burning(burn []float64, gap int) []period {
	var all []period
	evaluator.Runs(burn, []float64{1}, false, func(_, from, to int) {
		if n := len(all); n > 0 && from-all[n-1].to <= gap {
			all[n-1].to = to
			return
		}
		all = append(all, period{from, to})
	})
	return all
}
