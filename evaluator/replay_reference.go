package evaluator

import (
	"context"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
)

// tapped is a rule of upstream's that remembers what its last evaluation yielded. A group takes it for any other
// rule, except that it sends no alerts for it, which a replay does not want.
type tapped struct {
	rules.Rule
	vector promql.Vector
	err    error
}

// Eval implements rules.Rule.
func (t *tapped) Eval(ctx context.Context, offset time.Duration, at time.Time, query rules.QueryFunc, external *url.URL, limit int) (promql.Vector, error) {
	t.vector, t.err = t.Rule.Eval(ctx, offset, at, query, external, limit)
	return t.vector, t.err
}

// referenced is a group under upstream's evaluation, with what has come of it so far.
type referenced struct {
	group  *group
	live   *rules.Group
	taps   []*tapped
	rules  []*collector
	alerts []*follower // by rule; nil for those that record
	tick   int
}

// reference replays the groups tick by tick through upstream's rule groups. What they record goes to v.recorded.
func reference(ctx context.Context, groups []*group, v *view, o ReplayOptions) ([]*Outcome, error) {
	opts := &rules.ManagerOptions{
		Context: ctx, ExternalURL: o.ExternalURL, Logger: o.Logger,
		QueryFunc:  rules.EngineQueryFunc(o.engine(), v),
		Appendable: v.recorded, Queryable: v,
		Metrics: rules.NewGroupMetrics(nil),
	}
	var live []*referenced
	for _, g := range groups {
		live = append(live, newReferenced(g, opts, o))
	}
	for {
		next := earliest(live)
		if next == nil {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		next.eval(ctx)
	}
	var outcomes []*Outcome
	for _, l := range live {
		outcomes = append(outcomes, l.outcome())
	}
	return outcomes, nil
}

func newReferenced(g *group, opts *rules.ManagerOptions, o ReplayOptions) *referenced {
	l := &referenced{group: g}
	var all []rules.Rule
	for _, r := range g.rules {
		t := &tapped{Rule: r.upstream(o)}
		l.taps = append(l.taps, t)
		l.rules = append(l.rules, newCollector(g.ticks.N))
		var f *follower
		if r.alert {
			f = &follower{}
		}
		l.alerts = append(l.alerts, f)
		all = append(all, t)
	}
	offset := g.offset
	l.live = rules.NewGroup(rules.GroupOptions{
		Name: g.name, File: o.File, Interval: g.ticks.Interval, Limit: g.limit,
		Rules: all, Opts: opts, QueryOffset: &offset,
	})
	return l
}

// upstream makes upstream's own rule of r.
func (r *rule) upstream(o ReplayOptions) rules.Rule {
	if !r.alert {
		return rules.NewRecordingRule(r.name, r.expr, r.labels)
	}
	return rules.NewAlertingRule(r.name, r.expr, r.hold, r.keep, r.labels, labels.EmptyLabels(), o.ExternalLabels, o.ExternalURL.String(), true, o.Logger)
}

// earliest is the group whose next tick comes first, the first in the file of those at one moment; nil if all
// are through.
func earliest(live []*referenced) *referenced {
	var best *referenced
	for _, l := range live {
		if l.tick == l.group.ticks.N {
			continue
		}
		if best == nil || l.group.ticks.At(l.tick).Before(best.group.ticks.At(best.tick)) {
			best = l
		}
	}
	return best
}

func (l *referenced) eval(ctx context.Context) {
	at := l.group.ticks.At(l.tick)
	l.live.Eval(ctx, at)
	for i, t := range l.taps {
		if t.err != nil {
			l.rules[i].fail(l.tick, t.err)
		}
		if alerting, ok := t.Rule.(*rules.AlertingRule); ok {
			l.alerts[i].follow(alerting.ActiveAlerts(), at, t.err == nil)
			continue
		}
		if t.err == nil {
			l.rules[i].vector(l.tick, t.vector)
		}
	}
	l.tick++
}

func (l *referenced) outcome() *Outcome {
	out := &Outcome{Group: l.group.index, Name: l.group.name, Ticks: l.group.ticks}
	for i, r := range l.group.rules {
		ro := r.outcome()
		ro.Failures = l.rules[i].failures
		if r.alert {
			ro.Episodes = l.alerts[i].episodes()
		} else {
			ro.Columns = l.rules[i].columns()
		}
		out.Rules = append(out.Rules, ro)
	}
	return out
}

func (r *rule) outcome() RuleOutcome {
	if r.alert {
		return RuleOutcome{Index: r.index, Alert: r.name}
	}
	return RuleOutcome{Index: r.index, Record: r.name}
}

// collector makes columns of vectors that come tick by tick.
type collector struct {
	ticks    int
	byKey    map[string]*Column
	failures []Failure
}

func newCollector(ticks int) *collector { return &collector{ticks: ticks, byKey: map[string]*Column{}} }

func (c *collector) fail(tick int, err error) {
	c.failures = append(c.failures, Failure{Tick: tick, Err: err.Error()})
}

func (c *collector) column(l labels.Labels) *Column {
	var buf [512]byte
	key := l.Bytes(buf[:0])
	col, ok := c.byKey[string(key)]
	if !ok {
		col = &Column{Labels: l, Values: newAbsent(c.ticks)}
		c.byKey[string(key)] = col
	}
	return col
}

func (c *collector) vector(tick int, v promql.Vector) {
	for _, s := range v {
		c.sample(tick, s.Metric, s.F, s.H)
	}
}

func (c *collector) sample(tick int, l labels.Labels, f float64, h *histogram.FloatHistogram) {
	col := c.column(l)
	col.Values[tick] = f
	if h == nil {
		return
	}
	if col.Histograms == nil {
		col.Histograms = map[int]*histogram.FloatHistogram{}
	}
	col.Values[tick], col.Histograms[tick] = 0, h
}

func (c *collector) columns() []Column {
	var all []Column
	for _, col := range c.byKey {
		all = append(all, *col)
	}
	slices.SortFunc(all, func(a, b Column) int { return labels.Compare(a.Labels, b.Labels) })
	return all
}

// follower makes episodes of the active alerts that a rule shows tick by tick.
type follower struct {
	active map[string]*following
	done   []Episode
}

type following struct {
	Episode
	seen bool
}

// follow notes the alerts that are active after the tick at now. Where the evaluation failed, values are not news.
func (f *follower) follow(active []*rules.Alert, now time.Time, evaluated bool) {
	if f.active == nil {
		f.active = map[string]*following{}
	}
	for _, a := range active {
		key := a.Labels.String()
		e := f.active[key]
		if e == nil {
			e = &following{Episode: Episode{Labels: a.Labels, ActiveAt: a.ActiveAt, Peak: math.NaN()}}
			f.active[key] = e
		}
		e.seen = true
		if evaluated && a.KeepFiringSince.IsZero() {
			e.peak(a.Value)
			if e.FiredAt.IsZero() {
				e.Value = a.Value
			}
		}
		e.FiredAt = a.FiredAt
	}
	for key, e := range f.active {
		if e.seen {
			e.seen = false
			continue
		}
		e.ResolvedAt = now
		f.done = append(f.done, e.Episode)
		delete(f.active, key)
	}
}

func (e *Episode) peak(v float64) {
	if v > e.Peak || math.IsNaN(e.Peak) {
		e.Peak = v
	}
}

// episodes lists them all, sorted; those still active too.
func (f *follower) episodes() []Episode {
	all := f.done
	for _, e := range f.active {
		all = append(all, e.Episode)
	}
	sortEpisodes(all)
	return all
}

func sortEpisodes(all []Episode) {
	slices.SortFunc(all, func(a, b Episode) int {
		if c := labels.Compare(a.Labels, b.Labels); c != 0 {
			return c
		}
		if c := a.ActiveAt.Compare(b.ActiveAt); c != 0 {
			return c
		}
		return strings.Compare(a.FiredAt.String(), b.FiredAt.String())
	})
}

// absentBits is how a column says that there is no value: the bits of Prometheus's stale marker, which no sample
// has and no operation yields.
const absentBits = value.StaleNaN

// Absent reports whether v, a value of a column, stands for no value at all.
func Absent(v float64) bool { return math.Float64bits(v) == absentBits }

func newAbsent(n int) []float64 {
	col := make([]float64, n)
	fillAbsent(col)
	return col
}

func fillAbsent(col []float64) {
	absent := math.Float64frombits(absentBits)
	for i := range col {
		col[i] = absent
	}
}
