package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/slo"
)

// costFault is a rule that the engine gave up on.
type costFault struct {
	at   slo.Position
	text string
}

// maxTick is how long evaluating all rules once may take before the rest is left out: a gate answers in seconds.
const maxTick = 20 * time.Second

// cost evaluates every rule once at the history's end, in the order of the groups, and adds up the engine's statistics.
// What a rule records stands beside the history for those that read it: a sample for each interval of their windows, as
// there will be once the rules have run for so long.
func (v *verification) cost(ctx context.Context, groups []rulefmt.RuleGroup) (report.Cost, []costFault) {
	meter := &meter{
		engine: evaluator.NewEngine(evaluator.EngineOptions{Timeout: maxTick}),
		both:   &beside{Queryable: v.history, at: v.end().UnixMilli()},
		at:     v.end(), interval: v.set.past.options.Interval, objective: v.objectiveOf,
	}
	for _, g := range groups {
		meter.group(ctx, g)
	}
	slices.SortStableFunc(meter.cost.Rules, func(a, b report.RuleCost) int { return int(b.Samples - a.Samples) })
	meter.cost.Rules = meter.cost.Rules[:min(listed, len(meter.cost.Rules))]
	return meter.cost, meter.faults
}

// objectiveOf is where the contract of a group is declared.
func (v *verification) objectiveOf(g rulefmt.RuleGroup) slo.Position {
	for _, o := range v.objectives {
		if g.Name == o.ID() || g.Name == o.ID()+"/budget" {
			return o.Source()
		}
	}
	return slo.Position{}
}

// meter adds up what rules cost.
type meter struct {
	engine    *evaluator.Engine
	both      *beside
	at        time.Time
	interval  time.Duration
	objective func(rulefmt.RuleGroup) slo.Position
	cost      report.Cost
	faults    []costFault
}

func (m *meter) group(ctx context.Context, g rulefmt.RuleGroup) {
	interval := time.Duration(g.Interval)
	if interval == 0 {
		interval = m.interval
	}
	for _, r := range g.Rules {
		var written []labels.Labels
		start := time.Now()
		samples, err := ask(ctx, m.engine, m.both, r.Expr, m.at, func(l labels.Labels, _ float64) {
			if r.Record != "" {
				written = append(written, recordedAs(l, r))
			}
		})
		took := time.Since(start)
		if err != nil {
			m.faults = append(m.faults, costFault{m.objective(g), fmt.Sprintf("%s: %s can't be evaluated over the series that are there: %v", g.Name, r.Record+r.Alert, err)})
			continue
		}
		m.both.add(r.Record, written, interval)
		m.cost.Samples += samples
		m.cost.Seconds += report.Seconds(took)
		m.cost.Rules = append(m.cost.Rules, report.RuleCost{Group: g.Name, Rule: ruleName(r), Samples: samples, Seconds: report.Seconds(took)})
	}
}

func ruleName(r rulefmt.Rule) string {
	if r.Alert != "" && r.Labels["burn_tier"] != "" {
		return r.Alert + " " + r.Labels["burn_tier"]
	}
	return r.Record + r.Alert
}

func recordedAs(l labels.Labels, r rulefmt.Rule) labels.Labels {
	b := labels.NewBuilder(l).Set(labels.MetricName, r.Record)
	for name, value := range r.Labels {
		b.Set(name, value)
	}
	return b.Labels()
}

// beside is a history with series beside it that are recorded at a constant pace. It implements storage.Queryable.
type beside struct {
	storage.Queryable
	at       int64
	recorded map[string][]paced
}

func (b *beside) add(metric string, all []labels.Labels, interval time.Duration) {
	if b.recorded == nil {
		b.recorded = map[string][]paced{}
	}
	for _, l := range all {
		b.recorded[metric] = append(b.recorded[metric], paced{l, b.at, interval.Milliseconds()})
	}
}

// Querier implements storage.Queryable.
func (b *beside) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := b.Queryable.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &besideQuerier{q, b, mint, maxt}, nil
}

type besideQuerier struct {
	storage.Querier
	beside     *beside
	mint, maxt int64
}

// Select implements storage.Querier. A name that is recorded is looked for nowhere else.
func (q *besideQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	for _, m := range matchers {
		if m.Name != labels.MetricName || m.Type != labels.MatchEqual {
			continue
		}
		if all, ok := q.beside.recorded[m.Value]; ok {
			from, to := q.mint, q.maxt
			if hints != nil {
				from, to = hints.Start, hints.End
			}
			return newPacedSet(all, from, to, matchers)
		}
	}
	return q.Querier.Select(ctx, sorted, hints, matchers...)
}

// paced is a series with a sample at one moment and every interval before it. It implements storage.Series.
type paced struct {
	labels       labels.Labels
	at, interval int64
}

type pacedSet struct {
	all      []paced
	from, to int64
	k        int
}

func newPacedSet(all []paced, from, to int64, matchers []*labels.Matcher) *pacedSet {
	all = slices.DeleteFunc(slices.Clone(all), func(p paced) bool {
		return slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(p.labels.Get(m.Name)) })
	})
	slices.SortFunc(all, func(a, b paced) int { return labels.Compare(a.labels, b.labels) })
	return &pacedSet{all: all, from: from, to: to, k: -1}
}

// Next implements storage.SeriesSet.
func (s *pacedSet) Next() bool { s.k++; return s.k < len(s.all) }

// At implements storage.SeriesSet.
func (s *pacedSet) At() storage.Series {
	p := s.all[s.k]
	return &storage.SeriesEntry{Lset: p.labels, SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
		first := p.at - (p.at-s.from)/p.interval*p.interval
		return storage.NewListSeriesIterator(pace{first: first, last: min(s.to, p.at), interval: p.interval})
	}}
}

// Err implements storage.SeriesSet.
func (*pacedSet) Err() error { return nil }

// Warnings implements storage.SeriesSet.
func (*pacedSet) Warnings() annotations.Annotations { return nil }

// pace is the samples of a paced series, which nobody stores.
type pace struct{ first, last, interval int64 }

// Len implements storage.Samples.
func (p pace) Len() int { return int(max(0, (p.last-p.first)/p.interval+1)) }

// Get implements storage.Samples.
func (p pace) Get(i int) chunks.Sample { return one(p.first + int64(i)*p.interval) }

// one is a sample of value 1 at a time in milliseconds.
type one int64

// T implements chunks.Sample.
func (o one) T() int64 { return int64(o) }

// ST implements chunks.Sample; no start is known.
func (one) ST() int64 { return 0 }

// F implements chunks.Sample.
func (one) F() float64 { return 1 }

// H implements chunks.Sample.
func (one) H() *histogram.Histogram { return nil }

// FH implements chunks.Sample.
func (one) FH() *histogram.FloatHistogram { return nil }

// Type implements chunks.Sample.
func (one) Type() chunkenc.ValueType { return chunkenc.ValFloat }

// Copy implements chunks.Sample.
func (o one) Copy() chunks.Sample { return o }
