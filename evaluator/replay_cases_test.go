package evaluator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
)

// ruleGroups parses a rule file.
func ruleGroups(t testing.TB, text string) *rulefmt.RuleGroups {
	t.Helper()
	groups, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, parser.NewParser(parser.Options{}), promslog.NewNopLogger())
	if len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	return groups
}

// minutes replays so many minutes from the start of time, by the minute, as promtool would.
func minutes(n int) ReplayOptions {
	start := time.Unix(0, 0).UTC()
	return ReplayOptions{Start: start, End: start.Add(time.Duration(n) * time.Minute), AtStart: true}
}

// lines spells what came of the rules, one line each: recordings by minute, _ where there is no value; episodes
// as active-fired-resolved.
func lines(outcomes []*Outcome) []string {
	minute := func(at time.Time) string {
		if at.IsZero() {
			return ""
		}
		return fmt.Sprint(at.Unix() / 60)
	}
	var all []string
	for _, o := range outcomes {
		for _, r := range o.Rules {
			for _, c := range r.Columns {
				line := c.Labels.String() + " "
				for _, v := range c.Values {
					if Absent(v) {
						line += " _"
					} else {
						line += fmt.Sprintf(" %v", v)
					}
				}
				all = append(all, line)
			}
			for _, e := range r.Episodes {
				all = append(all, fmt.Sprintf("%s  %s-%s-%s value %v peak %v", e.Labels, minute(e.ActiveAt), minute(e.FiredAt), minute(e.ResolvedAt), e.Value, e.Peak))
			}
			for _, f := range r.Failures {
				all = append(all, fmt.Sprintf("%s%s fails at %d: %s", r.Record, r.Alert, f.Tick, f.Err))
			}
		}
	}
	return all
}

func TestReplay(t *testing.T) {
	for _, c := range []struct {
		name, series, rules string
		minutes             int
		method              Method // of the last rule
		want                string
	}{
		{
			name:    "a recording feeds the alert of its tick",
			series:  `x{a="1"} 0 1 2 3 4`,
			minutes: 5, rules: `
  - {record: double, expr: x * 2}
  - {alert: High, expr: double > 3}`,
			want: `
{__name__="double", a="1"}  0 2 4 6 8 8
{a="1", alertname="High"}  2-2- value 4 peak 8`,
		},
		{
			name:    "for waits, and a gap starts it again",
			series:  `x 1 1 0 1 1 1 1 0`,
			minutes: 8, rules: `
  - {alert: Up, expr: x == 1, for: 2m}`,
			want: `
{alertname="Up"}  0--2 value 1 peak 1
{alertname="Up"}  3-5-7 value 1 peak 1`,
		},
		{
			name:    "keep_firing_for bridges a gap",
			series:  `x 5 0 7 0 0 0 0 0`,
			minutes: 7, rules: `
  - {alert: Up, expr: x > 0, keep_firing_for: 2m}`,
			want: `
{alertname="Up"}  0-0-5 value 5 peak 7`,
		},
		{
			name:    "a vanished recording is stale at once, a vanished series after the lookback",
			series:  `x 1 1 _ _ _ _ _ _ _`,
			minutes: 8, rules: `
  - {record: rec, expr: x > 0}
  - {record: seen, expr: rec}`,
			want: `
{__name__="rec"}  1 1 1 1 1 1 _ _ _
{__name__="seen"}  1 1 1 1 1 1 _ _ _`,
		},
		{
			name:    "a stale marker ends a series",
			series:  `x 1 1 stale _ _ 2`,
			minutes: 6, rules: `
  - {record: rec, expr: x}
  - {record: many, expr: "count_over_time(x[3m])"}`,
			want: `
{__name__="rec"}  1 1 _ _ _ 2 2
{__name__="many"}  1 2 2 1 _ 1 1`,
		},
		{
			name:    "ranges are open on the left",
			series:  `x 1 2 4 8 16`,
			minutes: 4, rules: `
  - {record: two, expr: "sum_over_time(x[2m])"}`,
			want: `{__name__="two"}  1 3 6 12 24`,
		},
		{
			name:    "error-free tenants read 0, idle ones are absent",
			series:  "r{tenant=\"a\",code=\"200\"} 0+60x5\nr{tenant=\"a\",code=\"500\"} 0+6x5\nr{tenant=\"b\",code=\"200\"} 0+60x5\nr{tenant=\"c\",code=\"200\"} 0x5",
			minutes: 5, rules: `
  - {record: burn, expr: '(sum by (tenant) (rate(r{code=~"5.."}[2m])) or sum by (tenant) (rate(r[2m])) * 0) / (sum by (tenant) (rate(r[2m])) > 0) / 0.5'}`,
			want: `
{__name__="burn", tenant="a"}  _ 0.18181818181818182 0.18181818181818182 0.18181818181818182 0.18181818181818182 0.18181818181818182
{__name__="burn", tenant="b"}  _ 0 0 0 0 0`,
		},
		{
			name:    "a sum of nothing but -0 is 0, as upstream's compensation makes it",
			series:  `x{a="1"} 0 0`,
			minutes: 1, rules: `
  - {record: inverse, expr: '1 / sum(-x)'}`,
			want: `{__name__="inverse"}  +Inf +Inf`,
		},
		{
			name:    "two results with the same labels fail the tick",
			series:  "x{a=\"1\"} 1 1 1\nx{a=\"2\"} _ 2 stale",
			minutes: 2, rules: `
  - {record: one, expr: x, labels: {a: ""}}`,
			want: `
{__name__="one"}  1 _ 1
one fails at 1: vector contains metrics with the same labelset after applying rule labels`,
		},
		{
			name:    "a limit fails the tick, and forgets alerts",
			series:  "x{a=\"1\"} 1 1 1 1\nx{a=\"2\"} _ 2 stale",
			minutes: 3, rules: `
  - {alert: Many, expr: x > 0}
  limit: 1`,
			want: `
{a="1", alertname="Many"}  0-0-1 value 1 peak 1
{a="1", alertname="Many"}  2-2- value 1 peak 1
Many fails at 1: exceeded limit of 1 with 2 alerts`,
		},
		{
			name:    "templates in labels make alerts of their own",
			series:  `x{a="q"} 1 1 2`,
			minutes: 2, rules: `
  - {alert: T, expr: x > 0, labels: {level: '{{ $value }}', who: '{{ $labels.a }}'}}`,
			want: `
{a="q", alertname="T", level="1", who="q"}  0-0-2 value 1 peak 1
{a="q", alertname="T", level="2", who="q"}  2-2- value 2 peak 2`,
		},
		{
			name:    "what the history holds of a replayed recording is hidden",
			series:  "x 1 1 1\nrec{kind=\"old\"} 7 7 7\nother 3 3 3",
			minutes: 2, rules: `
  - {record: rec, expr: x}
  - {record: all, expr: 'sum(rec) + sum(other)'}`,
			want: `
{__name__="rec"}  1 1 1
{__name__="all"}  4 4 4`,
		},
		{
			name:    "what another rule recorded in the history is not hidden",
			series:  "x 1 1 1\nrec{kind=\"old\"} 7 7 7",
			minutes: 2, rules: `
  - {record: rec, expr: x, labels: {kind: new}}
  - {record: all, expr: 'sum(rec)'}`,
			want: `
{__name__="rec", kind="new"}  1 1 1
{__name__="all"}  8 8 8`,
		},
		{
			name:    "a rule that reads itself counts",
			series:  `x 1 1 1 1`,
			minutes: 3, method: Grouped, rules: `
  - {record: n, expr: 'n + 1 or x'}`,
			want: `{__name__="n"}  1 2 3 4`,
		},
		{
			name:    "the engine does what columns don't",
			series:  `x{a="1"} 0+1x5`,
			minutes: 3, method: Ranged, rules: `
  - {record: r, expr: 'clamp_max(sum by (a) (increase(x[2m])), 1.5)'}`,
			want: `{__name__="r", a="1"}  _ 1 1.5 1.5`,
		},
		{
			name:    "what adds up in an unknown order is asked tick by tick",
			series:  `x{a="1"} 0+1x5`,
			minutes: 3, method: Ticked, rules: `
  - {record: r, expr: 'sum(sum by (a) (increase(x[2m])) or x)'}`,
			want: `{__name__="r"}  0 1 2 2`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			history := promqltest.LoadedStorage(t, "load 1m\n  "+strings.ReplaceAll(c.series, "\n", "\n  "))
			defer history.Close()
			groups := ruleGroups(t, "groups:\n- name: g\n  rules:"+c.rules)
			for _, reference := range []bool{false, true} {
				o := minutes(c.minutes)
				o.Reference = reference
				done, err := Replay(context.Background(), groups, history, o)
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(lines(done.Outcomes), "\n"); got != strings.TrimSpace(c.want) {
					t.Errorf("reference %t: got\n%s\nwant\n%s", reference, got, strings.TrimSpace(c.want))
				}
				if last := done.Rules[len(done.Rules)-1]; !reference && last.Method != c.method {
					t.Errorf("%s by %s (%s), want %s", last.Rule, last.Method, last.Reason, c.method)
				}
			}
		})
	}
}

func TestReplayRefuses(t *testing.T) {
	fine := minutes(1)
	backward := ReplayOptions{Start: fine.End, End: fine.Start}
	for _, c := range []struct {
		name, rule, want string
		options          ReplayOptions
	}{
		{"no time", "{record: a, expr: x}", "replay needs a start and an end", ReplayOptions{}},
		{"an end before the start", "{record: a, expr: x}", "replay ends before it starts", backward},
		{"what is not PromQL", "{record: a, expr: 'x +'}", `group "g", rule 1, "a": 1:4: parse error: unexpected end of input`, fine},
		{"a range vector", "{record: a, expr: 'x[5m]'}", `group "g", rule 1, "a": the expression yields a range vector, not a vector`, fine},
		{"a rule without a name", "{expr: x}", `group "g", rule 1, "": set one of record and alert`, fine},
	} {
		t.Run(c.name, func(t *testing.T) {
			groups, _ := rulefmt.Parse([]byte("groups:\n- name: g\n  rules:\n  - "+c.rule), false, model.UTF8Validation, parser.NewParser(parser.Options{}), promslog.NewNopLogger())
			if groups == nil || len(groups.Groups) == 0 || len(groups.Groups[0].Rules) == 0 {
				groups = &rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{{Name: "g", Rules: []rulefmt.Rule{looseRule(c.rule)}}}}
			}
			_, err := Replay(context.Background(), groups, newMemory(), c.options)
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// looseRule reads the two fields that TestReplayRefuses sets, which upstream's parser refuses to read.
func looseRule(text string) rulefmt.Rule {
	var r rulefmt.Rule
	for field := range strings.SplitSeq(strings.Trim(text, "{}"), ", ") {
		key, value, _ := strings.Cut(field, ": ")
		switch key {
		case "record":
			r.Record = value
		case "expr":
			r.Expr = strings.Trim(value, "'")
		}
	}
	return r
}

// broken is a history that can't be read.
type broken struct{ storage.Queryable }

var errBroken = errors.New("disk on fire")

func (broken) Querier(int64, int64) (storage.Querier, error) { return nil, errBroken }

func TestReplayStops(t *testing.T) {
	defer goleak.VerifyNone(t)
	groups := ruleGroups(t, "groups:\n- {name: g, rules: [{record: a, expr: 'rate(x[5m])'}]}\n- {name: h, rules: [{record: b, expr: 'rate(y[5m])'}]}")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	full := errors.New("sink is full")
	for _, c := range []struct {
		name    string
		stop    bool
		history storage.Queryable
		sink    func(*Outcome) error
		want    error
	}{
		{"when it is cancelled", true, newMemory(), nil, context.Canceled},
		{"when the history fails", false, broken{}, nil, errBroken},
		{"when the sink refuses", false, newMemory(), func(*Outcome) error { return full }, full},
	} {
		for _, reference := range []bool{false, true} {
			o := minutes(10)
			o.Sink, o.Reference = c.sink, reference
			ctx := context.Background()
			if c.stop {
				ctx = cancelled
			}
			_, err := Replay(ctx, groups, c.history, o)
			if errors.Is(c.want, errBroken) && reference {
				continue // upstream's group takes it for a failed evaluation
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%s (reference %t): got %v, want %v", c.name, reference, err, c.want)
			}
		}
	}
}
