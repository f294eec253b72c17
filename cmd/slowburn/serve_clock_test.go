package main

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn/slowburn/evaluator"
)

// clocks are a wall clock and a monotonic one of a test.
type clocks struct {
	wall    time.Time
	elapsed time.Duration
}

func (c *clocks) pass(d time.Duration) { c.wall, c.elapsed = c.wall.Add(d), c.elapsed+d }
func (c *clocks) set(by time.Duration) { c.wall = c.wall.Add(by) }

// firing is a rule one of whose alerts has been sent at a time.
func firing(t *testing.T, sent time.Time) *rules.AlertingRule {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr("vector(1)")
	if err != nil {
		t.Fatal(err)
	}
	rule := rules.NewAlertingRule("Burn", expr, 0, 0, labels.EmptyLabels(), labels.EmptyLabels(), labels.EmptyLabels(), "", true, slog.New(slog.DiscardHandler))
	rule.SetRestored(true)
	ask := rules.EngineQueryFunc(evaluator.NewEngine(evaluator.EngineOptions{}), emptyDB{})
	if _, err := rule.Eval(t.Context(), 0, sent, ask, &url.URL{}, 0); err != nil {
		t.Fatal(err)
	}
	rule.ForEachActiveAlert(func(a *rules.Alert) { a.LastSentAt = sent })
	return rule
}

// begun is a clockwork on the clocks of a test, and what it passes on.
func begun(t *testing.T, at *clocks, rule *rules.AlertingRule) (c *clockwork, passed *[]rules.Alert) {
	passed = &[]rules.Alert{}
	c, err := newClockwork(func(_ context.Context, _ string, all ...*rules.Alert) {
		for _, a := range all {
			*passed = append(*passed, *a)
		}
	}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.read = func() (time.Time, time.Duration) { return at.wall, at.elapsed }
	c.wall, c.elapsed = at.wall, at.elapsed
	c.alerting = func() []*rules.AlertingRule { return []*rules.AlertingRule{rule} }
	c.settling = func() time.Duration { return 25 * time.Second }
	return c, passed
}

func TestAlertsSurviveTheClock(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name    string
		move    func(*clocks)
		steps   float64
		sent    time.Time     // when the alert says that it was sent
		behind  time.Duration // added to ends
		waiting bool
	}{
		{"time passes", func(c *clocks) { c.pass(time.Second) }, 0, noon, 0, false},
		{"slewing", func(c *clocks) { c.pass(time.Second); c.set(2 * time.Second) }, 0, noon, 0, false},
		{"an hour back", func(c *clocks) { c.pass(time.Second); c.set(-time.Hour) }, 1, noon.Add(-time.Hour), time.Hour, true},
		{"an hour ahead", func(c *clocks) { c.pass(time.Second); c.set(time.Hour) }, 1, noon, 0, true},
		{"stopped for ten minutes", func(c *clocks) { c.pass(10 * time.Minute) }, 0, noon, 0, true},
		{"a machine asleep", func(c *clocks) { c.set(10 * time.Minute) }, 1, noon, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			at := &clocks{wall: noon}
			rule := firing(t, noon)
			c, passed := begun(t, at, rule)
			test.move(at)
			c.tell()
			if got := testutil.ToFloat64(c.steps); got != test.steps {
				t.Errorf("%v steps, not %v", got, test.steps)
			}
			rule.ForEachActiveAlert(func(a *rules.Alert) {
				if !a.LastSentAt.Equal(test.sent) || !a.FiredAt.Equal(noon) || !a.ActiveAt.Equal(noon) {
					t.Errorf("sent %s, not %s; fires since %s", a.LastSentAt, test.sent, a.FiredAt)
				}
			})
			c.Notify(t.Context(), "", &rules.Alert{ValidUntil: noon}, &rules.Alert{ValidUntil: noon, ResolvedAt: noon})
			if got := *passed; len(got) != 2 || !got[0].ValidUntil.Equal(noon.Add(test.behind)) || !got[0].ResolvedAt.IsZero() || !got[1].ResolvedAt.Equal(noon.Add(test.behind)) {
				t.Errorf("ends moved otherwise than by %s: %+v", test.behind, got)
			}
			db := patient{samples{Queryable: emptyDB{}}, c}
			if _, err := db.Querier(0, 1); (err != nil) != test.waiting {
				t.Errorf("a rule is evaluated: %v", err)
			} else if err != nil && !strings.Contains(err.Error(), "25s") {
				t.Errorf("it does not say for how long: %v", err)
			}
			at.pass(26 * time.Second)
			if _, err := db.Querier(0, 1); err != nil {
				t.Errorf("when all is scraped: %v", err)
			}
		})
	}
}

func TestClockSetBackAndForthIsForgotten(t *testing.T) {
	at := &clocks{wall: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	c, _ := begun(t, at, firing(t, at.wall))
	for _, step := range []time.Duration{time.Hour, -time.Hour, -time.Hour, time.Hour} {
		at.set(step)
		c.tell()
	}
	if behind, _ := c.look(); behind != time.Hour {
		t.Errorf("%s behind: the hour of the first step back is kept, the second was undone", behind)
	}
}

// emptyDB has no samples.
type emptyDB struct{}

func (emptyDB) Querier(int64, int64) (storage.Querier, error) { return storage.NoopQuerier(), nil }
