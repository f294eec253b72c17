package backtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

// trial is one back-test under way.
type trial struct {
	opts       Options
	start, end time.Time
	subjects   []*subject
	incidents  []Incident // those given, then those inferred
	samples    int64
	notes      []string
}

// subject is one objective under test, and what has been found of it.
type subject struct {
	slo.Objective
	trial     *trial
	group     rulefmt.RuleGroup
	incidents []numbered // of this objective
	covered   []bool     // by tick: some tenant has events
	ticks     evaluator.Ticks
	tenants   []Tenant
	overall   tally
	tiers     []tally
	found     map[int]detection   // by incident's number
	spent     map[int]float64     // likewise, the share of the budget that went in it
	anywhere  []map[int]detection // by tier, of incidents without a tenant
	victims   map[int]victim      // of incidents without a tenant
	sparse    []string            // tenants with too few samples for the shortest window
	strays    []string            // tenants with failed events and no events
	search    *search
}

func newTrial(objectives []slo.Objective, h History, o Options) (*trial, error) {
	t := &trial{opts: o, incidents: slices.Clone(o.Incidents)}
	var err error
	if t.start, t.end, err = extent(h, o); err != nil {
		return nil, err
	}
	for _, objective := range objectives {
		group, err := burnGroup(objective, o)
		if err != nil {
			return nil, err
		}
		objective = settled(objective)
		s := &subject{Objective: objective, trial: t, group: group, found: map[int]detection{}, spent: map[int]float64{}, victims: map[int]victim{}}
		s.tiers = make([]tally, len(objective.Policy.Tiers))
		for range s.tiers {
			s.anywhere = append(s.anywhere, map[int]detection{})
		}
		t.subjects = append(t.subjects, s)
	}
	t.assign()
	return t, nil
}

// settled fills in what rulegen.Compile would.
func settled(o slo.Objective) slo.Objective {
	if len(o.Policy.Tiers) == 0 {
		o.Policy = slo.DefaultPolicy()
	}
	o.Window = cmp.Or(o.Window, slo.DefaultWindow)
	return o
}

// burnGroup is the objective's alerting group, with the failed and all events of the shortest window recorded beside it.
func burnGroup(o slo.Objective, opts Options) (rulefmt.RuleGroup, error) {
	groups, err := rulegen.Compile([]slo.Objective{o}, rulegen.Options{ServiceLabel: opts.ServiceLabel, Interval: opts.Interval})
	if err != nil {
		return rulefmt.RuleGroup{}, err
	}
	burn, budget := groups.Groups[0], groups.Groups[1]
	for _, r := range budget.Rules {
		if r.Record != rulegen.RemainingMetric {
			burn.Rules = append(burn.Rules, r)
		}
	}
	return burn, nil
}

// assign gives each incident to the objectives it is about, and notes those that are about none.
func (t *trial) assign() {
	for n, i := range t.incidents {
		known := false
		for _, s := range t.subjects {
			if i.Service != s.Service || i.SLO != "" && i.SLO != s.Name {
				continue
			}
			known = true
			if i.End.Before(t.start) || i.Start.After(t.end) {
				t.note("%s: the incident lies outside the history and is left out", i.Place)
				break
			}
			s.incidents = append(s.incidents, numbered{i, n})
		}
		if !known {
			t.note("%s: no SLO of service %q%s is under test; the incident is left out", i.Place, i.Service, named(" named ", i.SLO))
		}
	}
}

func named(before, name string) string {
	if name == "" {
		return ""
	}
	return before + name
}

func (t *trial) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// replay runs the groups, those that share a tenant label together.
func (t *trial) replay(ctx context.Context, h History) error {
	byLabel := map[string][]*subject{}
	for _, s := range t.subjects {
		byLabel[s.Tenant.Label] = append(byLabel[s.Tenant.Label], s)
	}
	for _, label := range slices.Sorted(maps.Keys(byLabel)) {
		if err := t.replayLabel(ctx, h, label, byLabel[label]); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) replayLabel(ctx context.Context, h History, label string, subjects []*subject) error {
	groups := &rulefmt.RuleGroups{}
	for _, s := range subjects {
		groups.Groups = append(groups.Groups, s.group)
	}
	done, err := evaluator.Replay(ctx, groups, h, evaluator.ReplayOptions{
		Start: t.start, End: t.end, Interval: t.opts.Interval, PartitionBy: label,
		Parallelism: t.opts.Parallelism, Progress: t.opts.Progress, Logger: t.opts.Logger,
		Sink: func(out *evaluator.Outcome) error { return subjects[out.Group].take(out) },
	})
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	t.samples += done.Samples
	t.notes = append(t.notes, done.Warnings...)
	return nil
}

// columns are one outcome's, by rule and tenant.
type columns struct {
	ticks    evaluator.Ticks
	burn     map[time.Duration]map[string][]float64
	failures map[time.Duration]map[string][]float64
	errors   map[string][]float64
	events   map[string][]float64
	firings  []map[string][]Firing // by tier
}

// take scores the tenants of one part of the history. What it is given is gone when it returns.
func (s *subject) take(out *evaluator.Outcome) error {
	if s.covered == nil {
		s.ticks, s.covered = out.Ticks, make([]bool, out.Ticks.N)
	}
	c, err := s.columns(out)
	if err != nil {
		return err
	}
	for _, tenant := range slices.Sorted(maps.Keys(c.events)) {
		s.tenant(tenant, c)
	}
	s.unjudged(c)
	return nil
}

// unjudged remembers who can't be judged, and why.
func (s *subject) unjudged(c *columns) {
	for _, t := range s.Policy.Tiers {
		for _, tenant := range slices.Sorted(maps.Keys(c.burn[t.Long])) {
			if len(c.events[tenant]) == 0 && !slices.Contains(s.sparse, tenant) {
				s.sparse = append(s.sparse, tenant)
			}
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(c.errors)) {
		if len(c.events[tenant]) == 0 && slices.ContainsFunc(c.errors[tenant], func(v float64) bool { return v > 0 }) {
			s.strays = append(s.strays, tenant)
		}
	}
}

func (s *subject) columns(out *evaluator.Outcome) (*columns, error) {
	c := &columns{ticks: out.Ticks, burn: map[time.Duration]map[string][]float64{}, failures: map[time.Duration]map[string][]float64{}}
	for _, r := range out.Rules {
		if len(r.Failures) > 0 {
			f := r.Failures[0]
			return nil, fmt.Errorf("%s: rule %s%s at %s: %s", s.ID(), r.Record, r.Alert, out.Ticks.At(f.Tick).Format(time.RFC3339), f.Err)
		}
		switch window, ok := strings.CutPrefix(r.Record, rulegen.BurnRateMetric); {
		case ok:
			c.burn[mustWindow(window)] = s.byTenant(r.Columns)
		case strings.HasPrefix(r.Record, rulegen.FailuresMetric):
			c.failures[mustWindow(strings.TrimPrefix(r.Record, rulegen.FailuresMetric))] = s.byTenant(r.Columns)
		case r.Alert != "":
			c.firings = append(c.firings, s.firings(r.Episodes))
		case c.errors == nil:
			c.errors = s.byTenant(r.Columns)
		default:
			c.events = s.byTenant(r.Columns)
		}
	}
	return c, nil
}

func mustWindow(text string) time.Duration {
	d, err := model.ParseDuration(text)
	if err != nil {
		panic(err) // rulegen wrote it
	}
	return time.Duration(d)
}

func (s *subject) byTenant(all []evaluator.Column) map[string][]float64 {
	m := map[string][]float64{}
	for _, c := range all {
		m[c.Labels.Get(s.Tenant.Label)] = c.Values
	}
	return m
}

func (s *subject) firings(all []evaluator.Episode) map[string][]Firing {
	m := map[string][]Firing{}
	for _, e := range all {
		if !e.FiredAt.IsZero() {
			tenant := e.Labels.Get(s.Tenant.Label)
			m[tenant] = append(m[tenant], Firing{Start: e.FiredAt.UTC(), End: utc(e.ResolvedAt), Peak: e.Peak, incident: none})
		}
	}
	return m
}

// utc keeps the zero time zero.
func utc(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.UTC()
}

func (t *trial) result() *Result {
	r := &Result{
		Version: Version, Start: t.start, End: t.end, Interval: Span(cmp.Or(t.opts.Interval, time.Minute)),
		Samples: t.samples, Verdict: Validated, MaxPages: t.opts.maxPages(),
	}
	for _, s := range t.subjects {
		one := s.result()
		if one.Verdict == Held {
			r.Verdict = Held
		}
		r.SLOs = append(r.SLOs, one)
	}
	r.Notes = t.notes
	return r
}

// result ends the objective's scores. A tenant that incidents name and the history does not know is noted.
func (s *subject) result() SLO {
	slices.SortFunc(s.tenants, func(a, b Tenant) int { return cmp.Compare(a.Name, b.Name) })
	covered, complete := s.coveredFor(), s.trial.opts.LabelsComplete
	one := SLO{
		Service: s.Service, Name: s.Name, Target: float64(s.Target), Window: Span(s.Window), Declared: s.Declared,
		Verdict: Validated, Covered: Span(covered), Tenants: s.tenants, Objective: s.Objective,
	}
	switch {
	case len(s.tenants) > 0:
	case len(s.sparse) > 0:
		one.Verdict, one.Reason = Held, "its samples stand too far apart for a window of "+slo.FormatWindow(shortest(s.Objective))
	default:
		one.Verdict, one.Reason = Held, "the history holds none of its events"
	}
	s.blameVictims()
	s.tellUnjudged()
	for _, t := range s.tenants {
		for _, r := range t.Rules {
			if r.Verdict == Held {
				one.Verdict = Held
			}
		}
	}
	one.Incidents = s.foundIncidents()
	for k := range s.tiers {
		for _, n := range slices.Sorted(maps.Keys(s.anywhere[k])) {
			s.tiers[k].note(s.anywhere[k][n])
		}
	}
	one.Score = s.overall.score(covered, complete)
	for k, t := range s.Policy.Tiers {
		one.Tiers = append(one.Tiers, Tier{
			Tier: t.Name, Severity: t.Severity, Factor: t.Factor, ErrorRatio: s.Target.ErrorRatio(t.Factor),
			Long: Span(t.Long), Short: Span(t.Short), For: Span(t.For), Score: s.tiers[k].score(covered, complete),
		})
	}
	if s.search != nil {
		one.Search = s.search.result(s)
	}
	return one
}

func (s *subject) coveredFor() time.Duration {
	n := 0
	for _, there := range s.covered {
		if there {
			n++
		}
	}
	return time.Duration(n) * s.ticks.Interval
}
