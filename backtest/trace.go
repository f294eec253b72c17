package backtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/slo"
)

// Trace is the course of one objective for one tenant, tick by tick: what a picture of a back-test shows. Where a column
// has no value, evaluator.Absent says so.
type Trace struct {
	Objective slo.Objective
	Tenant    Tenant
	Incidents []Found // of the tenant, and those of nobody in particular
	Ticks     evaluator.Ticks
	Burn      map[time.Duration][]float64 // by window
	Left      []float64                   // of one window's budget at the tenant's mean traffic; below zero where overspent
}

// Pick finds the objective named service/name and its tenant. Where a name is empty, it takes what has most to show: most
// incidents, then most firings, then most budget spent.
func (r *Result) Pick(name, tenant string) (SLO, Tenant, error) {
	var names, tenants []string
	var best SLO
	at := -1
	for _, s := range r.SLOs {
		id := s.Service + "/" + s.Name
		if names = append(names, id); name != "" && id != name {
			continue
		}
		for k, t := range s.Tenants {
			tenants = append(tenants, t.Name)
			if (tenant == "" || t.Name == tenant) && (at < 0 || t.shows(best.Tenants[at])) {
				best, at = s, k
			}
		}
	}
	switch {
	case at >= 0:
		return best, best.Tenants[at], nil
	case name != "" && !slices.Contains(names, name):
		return SLO{}, Tenant{}, fmt.Errorf("no SLO %q; there are %s", name, some(names))
	case len(tenants) == 0:
		return SLO{}, Tenant{}, fmt.Errorf("the history holds no events of %s", some(names))
	}
	return SLO{}, Tenant{}, fmt.Errorf("no tenant %q; there are %s", tenant, some(compact(tenants...)))
}

// shows reports whether t has more to show than o.
func (t Tenant) shows(o Tenant) bool {
	return cmp.Or(cmp.Compare(t.Score.Incidents, o.Score.Incidents), cmp.Compare(t.Score.Firings, o.Score.Firings), cmp.Compare(t.Spent, o.Spent)) > 0
}

// some lists the first few of many.
func some(all []string) string {
	const most = 12
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

// Trace replays one objective for one tenant of r once more, and keeps its columns.
func (r *Result) Trace(ctx context.Context, h History, s SLO, t Tenant, o Options) (*Trace, error) {
	group, err := burnGroup(s.Objective, o)
	if err != nil {
		return nil, err
	}
	own := &subject{Objective: s.Objective}
	trace := &Trace{Objective: s.Objective, Tenant: t, Burn: map[time.Duration][]float64{}}
	_, err = evaluator.Replay(ctx, &rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{group}}, tenantOnly(h, s.Objective, t), evaluator.ReplayOptions{
		Start: r.Start, End: r.End, Interval: o.Interval, Parallelism: o.Parallelism, Logger: o.Logger,
		Sink: func(out *evaluator.Outcome) error { return trace.take(own, out) },
	})
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", s.Objective.ID(), err)
	}
	for _, i := range s.Incidents {
		if i.Tenant == "" || i.Tenant == t.Name {
			trace.Incidents = append(trace.Incidents, i)
		}
	}
	return trace, nil
}

// take copies the tenant's columns: what it is given is gone when it returns.
func (t *Trace) take(s *subject, out *evaluator.Outcome) error {
	c, err := s.columns(out)
	if err != nil {
		return err
	}
	t.Ticks = out.Ticks
	for window, columns := range c.burn {
		t.Burn[window] = slices.Clone(columns[t.Tenant.Name])
	}
	t.Left = newLedger(s.Objective, out.Ticks, c.errors[t.Tenant.Name], c.events[t.Tenant.Name]).left(s.Window)
	return nil
}

// left is the share of the budget that is left at each tick, after what failed in the window that ends there.
func (l *ledger) left(window time.Duration) []float64 {
	share := float64(l.ticks.Interval) / float64(l.step)
	n, failed := int(window/l.ticks.Interval), 0.0
	left := make([]float64, l.ticks.N)
	for k := range left {
		failed += l.failedAt(k) * share
		failed -= l.failedAt(k-n) * share
		if left[k] = 1; l.budget > 0 {
			left[k] = 1 - failed/l.budget
		}
	}
	return left
}

// tenantOnly is the history of one tenant alone, so that tracing one of many costs what one costs.
func tenantOnly(h storage.Queryable, o slo.Objective, t Tenant) storage.Queryable {
	if o.Tenant.Label == "" {
		return h
	}
	return narrowed{h, labels.MustNewMatcher(labels.MatchEqual, o.Tenant.Label, t.Name)}
}

// narrowed adds a matcher to whatever is asked of a history.
type narrowed struct {
	storage.Queryable
	matcher *labels.Matcher
}

// Querier implements storage.Queryable.
func (n narrowed) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := n.Queryable.Querier(mint, maxt)
	return narrowedQuerier{q, n.matcher}, err
}

type narrowedQuerier struct {
	storage.Querier
	matcher *labels.Matcher
}

// Select implements storage.Querier.
func (q narrowedQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	return q.Querier.Select(ctx, sorted, hints, append(slices.Clone(matchers), q.matcher)...)
}
