package backtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

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
	longest   time.Duration
}

func newStage(o slo.Objective, h History, i Injection, opts Options) (*stage, error) {
	groups, err := rulegen.Compile([]slo.Objective{o}, rulegen.Options{ServiceLabel: opts.ServiceLabel, Interval: opts.Interval})
	if err != nil {
		return nil, err
	}
	return &stage{Objective: o, history: h, injection: i, opts: opts, group: groups.Groups[0], longest: slices.Max(o.Policy.Windows())}, nil
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

// at tries every error ratio at one time.
func (s *stage) at(ctx context.Context, at time.Time) ([]Injected, error) {
	before, err := s.load(ctx, at)
	if err != nil {
		return nil, err
	}
	var all []Injected
	for _, ratio := range s.injection.Ratios {
		after, tenants, err := s.strike(before, at, ratio)
		if err != nil {
			return nil, err
		}
		found, err := s.replay(ctx, after, at, ratio, tenants)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// load reads the objective's series, once for every error ratio.
func (s *stage) load(ctx context.Context, at time.Time) (memory, error) {
	var names []string
	switch i := s.Indicator.(type) {
	case slo.Availability:
		names = []string{i.Total, i.Errors}
	case slo.Latency:
		if i.Native {
			return nil, fmt.Errorf("%w: it counts by native histograms", errNotInjected)
		}
		for _, suffix := range []string{"_count", "_bucket"} {
			names = append(names, suffixed(i.Metric, suffix))
		}
	default:
		return nil, fmt.Errorf("%w: its metric is not known", errNotInjected)
	}
	mint := at.Add(-s.longest - 10*time.Minute).UnixMilli()
	maxt := at.Add(s.injection.For).UnixMilli()
	var all memory
	for _, text := range names {
		matchers, err := s.selector(text)
		if err != nil {
			return nil, err
		}
		some, err := read(ctx, s.history, mint, maxt, matchers)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	all.sort()
	return slices.CompactFunc(all, func(a, b list) bool { return labels.Equal(a.labels, b.labels) }), nil
}

// suffixed gives the metric of a selector a suffix.
func suffixed(selector, suffix string) string {
	if at := strings.IndexByte(selector, '{'); at >= 0 {
		return strings.TrimSpace(selector[:at]) + suffix + selector[at:]
	}
	return selector + suffix
}

// selector narrows a contract's selector to its service and tenant, as rulegen does.
func (s *stage) selector(text string) ([]*labels.Matcher, error) {
	all, err := parser.NewParser(parser.Options{}).ParseMetricSelector(text)
	if err != nil {
		return nil, fmt.Errorf("selector %q: %w", text, err)
	}
	narrow := func(name, value string) {
		if name != "" && value != "" && !slices.ContainsFunc(all, func(m *labels.Matcher) bool { return m.Name == name }) {
			all = append(all, labels.MustNewMatcher(labels.MatchEqual, name, value))
		}
	}
	switch s.opts.ServiceLabel {
	case "":
		narrow("service", s.Service)
	case "-":
	default:
		narrow(s.opts.ServiceLabel, s.Service)
	}
	narrow(s.Tenant.Label, s.Tenant.Static)
	return all, nil
}

// strike makes the share of the good events fail from a time on. It also tells which tenants had any.
func (s *stage) strike(before memory, at time.Time, ratio float64) (memory, []string, error) {
	var after memory
	tenants := map[string]bool{}
	strike := outage{from: at.UnixMilli(), ratio: ratio}
	split, err := s.splitter()
	if err != nil {
		return nil, nil, err
	}
	for _, one := range before {
		good, bad := split(one.labels)
		switch {
		case !good:
			after = append(after, one)
			continue
		case bad.IsEmpty(): // what fails just does not arrive: a histogram's bucket
			after = append(after, strike.lessen(one))
		case split.counts(bad): // the total counts failures too
			after = append(after, strike.lessen(one), strike.fail(one, bad))
		default: // two metrics: all events, and the failed
			after = append(after, one, strike.fail(one, bad))
		}
		tenants[one.labels.Get(s.Tenant.Label)] = true
	}
	after.sort()
	return after, sortedKeys(tenants), nil
}

func sortedKeys(m map[string]bool) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// splitter tells whether a series counts good events that can be made to fail, and as what its failures are counted.
type splitter func(labels.Labels) (good bool, bad labels.Labels)

// counts reports whether a failed series is among the total's.
func (f splitter) counts(bad labels.Labels) bool {
	_, again := f(bad)
	return labels.Equal(again, bad)
}

// mark tells series of failures that were put there from those that were.
const mark = "slowburn_injected"

func (s *stage) splitter() (splitter, error) {
	if l, ok := s.Indicator.(slo.Latency); ok {
		return s.buckets(l), nil
	}
	i := s.Indicator.(slo.Availability)
	total, err := s.selector(i.Total)
	if err != nil {
		return nil, err
	}
	failed, err := s.selector(i.Errors)
	if err != nil {
		return nil, err
	}
	return func(l labels.Labels) (bool, labels.Labels) {
		if l.Has(mark) && matches(l, total) { // asked of a failed series: it is the total's own
			return false, l
		}
		if !matches(l, total) || matches(l, failed) {
			return false, labels.EmptyLabels()
		}
		return true, failing(l, failed)
	}, nil
}

// failing is what a failed event of a series is counted as: the series with every label as the errors' selector wants it.
func failing(l labels.Labels, failed []*labels.Matcher) labels.Labels {
	b := labels.NewBuilder(l)
	for _, m := range failed {
		if m.Matches(l.Get(m.Name)) {
			continue
		}
		candidates := append([]string{m.Value, "500", "503", "5xx", "error", "ERROR", "bad", "failure", "false", "true", "1", "400", ""}, m.SetMatches()...)
		if at := slices.IndexFunc(candidates, m.Matches); at >= 0 {
			b.Set(m.Name, candidates[at])
		}
	}
	return b.Set(mark, "1").Labels()
}

// buckets loses events from every bucket up to the threshold's: they are slower.
func (s *stage) buckets(l slo.Latency) splitter {
	bound := l.Threshold.Seconds()
	name, _, _ := strings.Cut(l.Metric, "{")
	if name = strings.TrimSpace(name); strings.HasSuffix(name, "_ms") || strings.HasSuffix(name, "_milliseconds") {
		bound *= 1000
	}
	return func(series labels.Labels) (bool, labels.Labels) {
		var le float64
		if _, err := fmt.Sscan(series.Get(model.BucketLabel), &le); err != nil {
			return false, labels.EmptyLabels()
		}
		return !math.IsInf(le, 0) && le <= bound, labels.EmptyLabels()
	}
}

// outage makes a share of all increments from a time on fail.
type outage struct {
	from  int64
	ratio float64
}

// lost is, at each sample, how many events have failed: of the series since its last reset, and in all.
func (o outage) lost(l list) (since, all []float64) {
	var own, sum float64
	for k, v := range l.values {
		delta := 0.0
		if k > 0 {
			delta = v - l.values[k-1]
			if delta < 0 { // a counter that begins anew
				delta, own = v, 0
			}
		}
		if l.times[k] > o.from && delta > 0 {
			own += o.ratio * delta
			sum += o.ratio * delta
		}
		since, all = append(since, own), append(all, sum)
	}
	return since, all
}

// lessen takes the failed events off a series.
func (o outage) lessen(l list) list {
	since, _ := o.lost(l)
	less := list{labels: l.labels, times: l.times, values: slices.Clone(l.values)}
	for k := range less.values {
		less.values[k] -= since[k]
	}
	return less
}

// aged is what a counter of failures that has run for long stands at: one that starts at zero would be extrapolated less.
const aged = 1e6

// fail counts the failed events of a series, at its own times.
func (o outage) fail(l list, as labels.Labels) list {
	_, all := o.lost(l)
	for k := range all {
		all[k] += aged
	}
	return list{labels: as, times: l.times, values: all}
}

// replay runs the alerts over the struck history.
func (s *stage) replay(ctx context.Context, m memory, at time.Time, ratio float64, tenants []string) ([]Injected, error) {
	done, err := evaluator.Replay(ctx, &rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{s.group}}, m, evaluator.ReplayOptions{
		Start: at.Add(-15 * time.Minute), End: at.Add(s.injection.For), Interval: s.opts.Interval, AtStart: true,
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
