package backtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/rulegen"
)

// File is one file to write, by its name in the directory.
type File struct {
	Name    string
	Content []byte
}

// Tests bounds: a test is for people to read, and promtool runs it tick by tick.
const (
	mostTests    = 50
	longestTest  = 12 * time.Hour
	testInterval = time.Minute
)

// Tests cuts a promtool test out of the history for each incident and each unlabelled page, and writes the rules that they
// test, a file for each SLO: its alerts without annotations, which would have to be repeated. What a test expects is what a
// replay of its own series says. It notes what was left out.
func (r *Result) Tests(ctx context.Context, h History, o Options) ([]File, []string, error) {
	var rules, tests []File
	var notes []string
	left := 0
	for _, s := range r.SLOs {
		stage, err := newStage(s.Objective, h, Injection{}.filled(), o)
		if err != nil {
			return nil, nil, err
		}
		file, err := stage.rules()
		if err != nil {
			return nil, nil, err
		}
		rules = append(rules, file)
		for _, c := range s.cuts() {
			if len(tests) == mostTests {
				left++
				continue
			}
			test, err := stage.test(ctx, c, file.Name)
			if err != nil {
				notes = append(notes, fmt.Sprintf("%s at %s becomes no test: %v", s.Objective.ID(), c.from.Format(time.RFC3339), err))
				continue
			}
			tests = append(tests, test)
		}
	}
	if left > 0 {
		notes = append(notes, fmt.Sprintf("the first %d tests are written, and %d left out", mostTests, left))
	}
	return slices.Concat(rules, tests), notes, nil
}

// rules is the file that the objective's tests load. The stage replays the same from here on.
func (s *stage) rules() (File, error) {
	for k := range s.group.Rules {
		s.group.Rules[k].Annotations = nil
	}
	s.group.Interval = model.Duration(testInterval)
	content, err := yaml.Marshal(&rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{s.group}})
	return File{plain(s.Service+"-"+s.Name) + ".rules.yml", content}, err
}

// cut is a piece of history worth a test.
type cut struct {
	tenant, what string
	from, to     time.Time
}

// cuts are the incidents, and what pages outside of them. Firings within an hour are one piece; an incident always has
// its own.
func (s SLO) cuts() []cut {
	var all []cut
	for _, i := range s.Incidents {
		if (i.Tenant != "" || s.Objective.Tenant.Label == "") && !i.Unknown {
			all = append(all, cut{i.Tenant, "incident " + i.place(), i.Start, i.End})
		}
	}
	for _, t := range s.Tenants {
		all = append(all, t.outside()...)
	}
	slices.SortStableFunc(all, func(a, b cut) int {
		return cmp.Or(a.from.Compare(b.from), cmp.Compare(a.tenant, b.tenant))
	})
	return slices.CompactFunc(all, func(a, b cut) bool { return a.tenant == b.tenant && a.from.Equal(b.from) })
}

// outside are a tenant's firings that are for no incident.
func (t Tenant) outside() []cut {
	var all []cut
	for _, rule := range t.Rules {
		for _, f := range rule.Firings {
			if f.Kind != ForIncident {
				end := f.End
				if end.IsZero() {
					end = f.Start.Add(time.Hour)
				}
				all = append(all, cut{t.Name, string(f.Kind) + " firing of tier " + rule.Tier, f.Start, end})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b cut) int { return a.from.Compare(b.from) })
	var apart []cut
	for _, c := range all {
		if n := len(apart); n > 0 && !c.from.After(apart[n-1].to.Add(time.Hour)) {
			if c.to.After(apart[n-1].to) {
				apart[n-1].to = c.to
			}
			continue
		}
		apart = append(apart, c)
	}
	return apart
}

// promtest is the part of promtool's test file format that is written here.
type promtest struct {
	RuleFiles          []string   `yaml:"rule_files"`
	EvaluationInterval string     `yaml:"evaluation_interval"`
	Tests              []promcase `yaml:"tests"`
}

type promcase struct {
	Name     string       `yaml:"name"`
	Interval string       `yaml:"interval"`
	Input    []promseries `yaml:"input_series"`
	Alerts   []promalert  `yaml:"alert_rule_test"`
}

type promseries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type promalert struct {
	EvalTime  string        `yaml:"eval_time"`
	Alertname string        `yaml:"alertname"`
	Expected  []promfirings `yaml:"exp_alerts"`
}

type promfirings struct {
	Labels map[string]string `yaml:"exp_labels"`
}

// test writes one test: the window before, the piece itself, and the time in which its alerts end.
func (s *stage) test(ctx context.Context, c cut, rules string) (File, error) {
	before := min(s.longest, 6*time.Hour)
	start, end := c.from.Add(-before), c.to.Add(30*time.Minute)
	if end.Sub(start) > longestTest {
		end = start.Add(longestTest)
	}
	s.injection.For = end.Sub(c.from)
	series, err := s.load(ctx, c.from, []string{c.tenant})
	if err != nil {
		return File{}, err
	}
	one := promcase{Name: fmt.Sprintf("%s %s%s at %s", s.ID(), c.what, named(" of ", c.tenant), c.from.Format(time.RFC3339)), Interval: "1m"}
	var regular Memory
	for _, l := range series {
		if s.Tenant.Label == "" || l.Labels.Get(s.Tenant.Label) == c.tenant {
			if l.Histograms != nil {
				return File{}, fmt.Errorf("%s is a native histogram", l.Labels)
			}
			regular = append(regular, l.regular(start, end))
		}
	}
	if len(regular) == 0 {
		return File{}, fmt.Errorf("the history has no series of tenant %q then", c.tenant)
	}
	episodes, err := s.shortened(ctx, regular, end.Sub(start))
	if err != nil {
		return File{}, err
	}
	for _, l := range regular {
		one.Input = append(one.Input, promseries{l.Labels.String(), notation(l.Values)})
	}
	one.Alerts = expectations(episodes, end.Sub(start))
	content, err := yaml.Marshal(promtest{RuleFiles: []string{rules}, EvaluationInterval: "1m", Tests: []promcase{one}})
	name := plain(fmt.Sprintf("%s-%s-%s-%s", s.Service, s.Name, c.tenant, c.from.UTC().Format("20060102T150405"))) + ".test.yml"
	return File{name, content}, err
}

// plain keeps what is safe in a file's name.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
}

// regular is the series at whole minutes, from zero as promtool counts: the last sample of the five minutes before each,
// less what the first one had; NaN where there is none.
func (l Samples) regular(start, end time.Time) Samples {
	out := Samples{Labels: l.Labels}
	base, k := math.NaN(), -1
	for at := start; !at.After(end); at = at.Add(testInterval) {
		for k+1 < len(l.Times) && l.Times[k+1] <= at.UnixMilli() {
			k++
		}
		v := math.NaN()
		if k >= 0 && at.UnixMilli()-l.Times[k] < (5*time.Minute).Milliseconds() {
			if math.IsNaN(base) {
				base = l.Values[k]
			}
			if v = l.Values[k] - base; v < 0 { // a reset: from here on the counter is its own
				base, v = 0, l.Values[k]
			}
		}
		out.Times, out.Values = append(out.Times, at.Sub(start).Milliseconds()), append(out.Values, v)
	}
	return out
}

// shortened makes the series even over as long stretches as can be had without any alert being another, and tells
// the alerts.
func (s *stage) shortened(ctx context.Context, m Memory, d time.Duration) ([]evaluator.Episode, error) {
	want, err := s.episodes(ctx, m, d)
	if err != nil {
		return nil, err
	}
	for _, stretch := range []int{60, 30, 15, 5, 2} {
		even := slices.Clone(m)
		for k := range even {
			even[k].Values = evened(m[k].Values, stretch)
		}
		got, err := s.episodes(ctx, even, d)
		if err != nil {
			return nil, err
		}
		if slices.EqualFunc(got, want, sameEpisode) {
			copy(m, even)
			break
		}
	}
	return want, nil
}

func sameEpisode(a, b evaluator.Episode) bool {
	return labels.Equal(a.Labels, b.Labels) && a.FiredAt.Equal(b.FiredAt) && a.ResolvedAt.Equal(b.ResolvedAt)
}

// episodes are the alerts that a replay of the series fires.
func (s *stage) episodes(ctx context.Context, m Memory, d time.Duration) ([]evaluator.Episode, error) {
	start := time.Unix(0, 0).UTC()
	done, err := evaluator.Replay(ctx, &rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{s.group}}, m.known(), evaluator.ReplayOptions{
		Start: start, End: start.Add(d), AtStart: true, Interval: testInterval,
	})
	if err != nil {
		return nil, err
	}
	var episodes []evaluator.Episode
	for _, out := range done.Outcomes {
		for _, rule := range out.Rules {
			for _, e := range rule.Episodes {
				if !e.FiredAt.IsZero() {
					episodes = append(episodes, e)
				}
			}
		}
	}
	return episodes, nil
}

// expectations are what fires at the start, the end, and just before and as each alert begins and ends.
func expectations(episodes []evaluator.Episode, d time.Duration) []promalert {
	start := time.Unix(0, 0).UTC()
	at := []time.Duration{0, d.Truncate(testInterval)}
	for _, e := range episodes {
		at = append(at, e.FiredAt.Sub(start)-testInterval, e.FiredAt.Sub(start))
		if !e.ResolvedAt.IsZero() {
			at = append(at, e.ResolvedAt.Sub(start)-testInterval, e.ResolvedAt.Sub(start))
		}
	}
	var all []promalert
	for _, moment := range compact(at...) {
		if moment < 0 {
			continue
		}
		one := promalert{EvalTime: model.Duration(moment).String(), Alertname: rulegen.AlertName, Expected: []promfirings{}}
		for _, e := range episodes {
			if t := start.Add(moment); !e.FiredAt.After(t) && (e.ResolvedAt.IsZero() || e.ResolvedAt.After(t)) {
				l := e.Labels.Map()
				maps.DeleteFunc(l, func(name, _ string) bool { return name == labels.AlertName })
				one.Expected = append(one.Expected, promfirings{l})
			}
		}
		all = append(all, one)
	}
	return all
}

// known leaves out the moments without a sample.
func (m Memory) known() Memory {
	var all Memory
	for _, l := range m {
		one := Samples{Labels: l.Labels}
		for k, v := range l.Values {
			if !math.IsNaN(v) {
				one.Times, one.Values = append(one.Times, l.Times[k]), append(one.Values, v)
			}
		}
		all = append(all, one)
	}
	all.sort()
	return all
}
