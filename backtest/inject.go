package backtest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

// Injection says which outages are put onto history.
type Injection struct {
	Ratios []float64       // shares of the good events that fail; 2, 5, 10, 50 and 100 % if empty
	For    time.Duration   // how long an outage lasts; six hours if zero
	Hours  []time.Duration // times of day, UTC; each sixth hour if empty
}

func (i Injection) filled() Injection {
	if len(i.Ratios) == 0 {
		i.Ratios = []float64{0.02, 0.05, 0.1, 0.5, 1}
	}
	if i.For == 0 {
		i.For = 6 * time.Hour
	}
	if len(i.Hours) == 0 {
		i.Hours = []time.Duration{0, 6 * time.Hour, 12 * time.Hour, 18 * time.Hour}
	}
	return i
}

// Injected is how the alerts of one tenant met one outage that was put onto its history.
type Injected struct {
	Service string          `json:"service"`
	SLO     string          `json:"slo"`
	Tenant  string          `json:"tenant"`
	At      time.Time       `json:"at"`
	Ratio   float64         `json:"error_ratio"`
	For     Span            `json:"for_seconds"`
	Tiers   []InjectedAlert `json:"tiers"`
}

// InjectedAlert is one tier in an outage. An outage that lasts longer than Delay is found; without one none is.
type InjectedAlert struct {
	Tier    string `json:"tier"`
	Ongoing bool   `json:"ongoing,omitempty"` // it was firing already
	Delay   *Span  `json:"delay_seconds,omitempty"`
}

// Inject puts outages onto the history of every objective, at each hour of a day that holds no known incident if there
// is one, and replays the alerts over them. It returns notes on what could not be tried.
func Inject(ctx context.Context, objectives []slo.Objective, h History, i Injection, o Options) ([]Injected, []string, error) {
	i = i.filled()
	start, end, err := extent(h, o)
	if err != nil {
		return nil, nil, err
	}
	var all []Injected
	var notes []string
	for _, objective := range objectives {
		s, err := newStage(objective, h, i, o)
		if err != nil {
			return nil, nil, err
		}
		for _, hour := range i.Hours {
			at, ok := s.day(start, end, hour)
			if !ok {
				notes = append(notes, fmt.Sprintf("%s: the history is too short for an outage of %s after a window of %s",
					objective.ID(), slo.FormatWindow(i.For), slo.FormatWindow(s.longest)))
				break
			}
			found, err := s.at(ctx, at)
			if errors.Is(err, errNotInjected) {
				notes = append(notes, fmt.Sprintf("%s: %v", objective.ID(), err))
				break
			}
			if err != nil {
				return nil, nil, fmt.Errorf("inject into %s: %w", objective.ID(), err)
			}
			all = append(all, found...)
		}
	}
	return all, notes, nil
}

var errNotInjected = errors.New("outages can't be put onto its history")

// stage is where outages are put onto the history of one objective.
type stage struct {
	slo.Objective
	history   History
	injection Injection
	opts      Options
	group     rulefmt.RuleGroup
	reads     rulegen.Reads
	longest   time.Duration
}

func newStage(o slo.Objective, h History, i Injection, opts Options) (*stage, error) {
	ro := rulegen.Options{ServiceLabel: opts.ServiceLabel, Interval: opts.Interval}
	groups, err := rulegen.Compile([]slo.Objective{o}, ro)
	if err != nil {
		return nil, err
	}
	reads, err := rulegen.ReadsOf(o, ro)
	if err != nil {
		return nil, err
	}
	o = settled(o)
	return &stage{
		Objective: o, history: h, injection: i, opts: opts, group: groups.Groups[0], reads: reads,
		longest: slices.Max(o.Policy.Windows()),
	}, nil
}

// day is the latest day on which an outage at that hour has all windows full before it and no incident near; if all have
// one, the latest.
func (s *stage) day(start, end time.Time, hour time.Duration) (time.Time, bool) {
	last := end.Add(-s.injection.For)
	at := last.UTC().Truncate(24 * time.Hour).Add(hour)
	if at.After(last) {
		at = at.Add(-24 * time.Hour)
	}
	if at.Add(-s.longest).Before(start) {
		return at, false
	}
	for day := at; !day.Add(-s.longest).Before(start); day = day.Add(-24 * time.Hour) {
		near := func(i Incident) bool {
			return i.Service == s.Service && i.Start.Before(day.Add(s.injection.For)) && i.End.After(day.Add(-s.longest))
		}
		if !slices.ContainsFunc(s.opts.Incidents, near) {
			return day, true
		}
	}
	return at, true
}

// batch is how many tenants have outages put onto them at once. All their series are held in memory.
const batch = 50

// at tries every error ratio at one time.
func (s *stage) at(ctx context.Context, at time.Time) ([]Injected, error) {
	tenants, err := s.tenants(ctx, at)
	if err != nil {
		return nil, err
	}
	byRatio := make([][]Injected, len(s.injection.Ratios))
	for some := range slices.Chunk(tenants, batch) {
		before, err := s.load(ctx, at, some)
		if err != nil {
			return nil, err
		}
		for k, ratio := range s.injection.Ratios {
			after, hit, err := s.strike(before, at, ratio)
			if err != nil {
				return nil, err
			}
			found, err := s.replay(ctx, after, at, ratio, hit)
			if err != nil {
				return nil, err
			}
			byRatio[k] = append(byRatio[k], found...)
		}
	}
	return slices.Concat(byRatio...), nil
}

// lead is how long before an outage its replay begins: an alert with a hold that was firing already then fires by then.
func (s *stage) lead() time.Duration {
	lead := time.Duration(0)
	for _, t := range s.Policy.Tiers {
		lead = max(lead, t.For)
	}
	return lead + 15*time.Minute
}

// since is the first moment of which a replay about an outage knows something.
func (s *stage) since(at time.Time) int64 {
	return at.Add(-s.longest - s.lead() - 5*time.Minute).UnixMilli()
}

// tenants lists whose events the history holds near a time; one without a name, where the objective has no tenants.
func (s *stage) tenants(ctx context.Context, at time.Time) (all []string, err error) {
	if s.Tenant.Label == "" {
		return []string{""}, nil
	}
	q, err := s.history.Querier(s.since(at), at.Add(s.injection.For).UnixMilli())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	all, _, err = q.LabelValues(ctx, s.Tenant.Label, nil, s.reads.Total...)
	return compact(append(slices.Clone(all), "")...), err
}

// load reads the series that the objective counts of some tenants, once for every error ratio.
func (s *stage) load(ctx context.Context, at time.Time, tenants []string) (Memory, error) {
	var all Memory
	for _, matchers := range [][]*labels.Matcher{s.reads.Total, s.reads.Errors, s.reads.Good} {
		if matchers == nil {
			continue
		}
		some, err := read(ctx, s.history, s.since(at), at.Add(s.injection.For).UnixMilli(), append(slices.Clone(matchers), s.of(tenants)...))
		if errors.Is(err, errMixed) {
			return nil, fmt.Errorf("%w: %w", errNotInjected, err)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	all.sort()
	return slices.CompactFunc(all, func(a, b Samples) bool { return labels.Equal(a.Labels, b.Labels) }), nil
}

// of matches the series of some tenants.
func (s *stage) of(tenants []string) []*labels.Matcher {
	if s.Tenant.Label == "" {
		return nil
	}
	var quoted []string
	for _, t := range tenants {
		quoted = append(quoted, regexp.QuoteMeta(t))
	}
	return []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, s.Tenant.Label, strings.Join(quoted, "|"))}
}

// replay runs the alerts over the struck history.
func (s *stage) replay(ctx context.Context, m Memory, at time.Time, ratio float64, tenants []string) ([]Injected, error) {
	done, err := evaluator.Replay(ctx, &rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{s.group}}, m, evaluator.ReplayOptions{
		Start: at.Add(-s.lead()), End: at.Add(s.injection.For), Interval: s.opts.Interval, AtStart: true,
		PartitionBy: s.Tenant.Label, Parallelism: s.opts.Parallelism, Logger: s.opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	fired := map[string]InjectedAlert{}
	for _, out := range done.Outcomes {
		for _, r := range out.Rules {
			for _, e := range r.Episodes {
				s.first(fired, e, at)
			}
		}
	}
	var all []Injected
	for _, tenant := range tenants {
		one := Injected{Service: s.Service, SLO: s.Name, Tenant: tenant, At: at, Ratio: ratio, For: Span(s.injection.For)}
		for _, t := range s.Policy.Tiers {
			alert := fired[tenant+"\x00"+t.Name]
			alert.Tier = t.Name
			one.Tiers = append(one.Tiers, alert)
		}
		all = append(all, one)
	}
	return all, nil
}

// first keeps the first firing of each tenant and tier that the outage can have met.
func (s *stage) first(fired map[string]InjectedAlert, e evaluator.Episode, at time.Time) {
	key := e.Labels.Get(s.Tenant.Label) + "\x00" + e.Labels.Get("burn_tier")
	if _, seen := fired[key]; seen || e.FiredAt.IsZero() || !e.ResolvedAt.IsZero() && !e.ResolvedAt.After(at) {
		return
	}
	if e.FiredAt.Before(at) {
		fired[key] = InjectedAlert{Ongoing: true}
		return
	}
	delay := Span(e.FiredAt.Sub(at))
	fired[key] = InjectedAlert{Delay: &delay}
}
