package evaluator

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
)

func TestRuns(t *testing.T) {
	absent := math.Float64frombits(absentBits)
	for _, c := range []struct {
		name               string
		values, thresholds []float64
		orEqual            bool
		want               string
	}{
		{"nothing", nil, []float64{1}, false, ""},
		{"above", []float64{0, 2, 2, 0, 2}, []float64{1}, false, "0:1-3 0:4-5"},
		{"equal is not above", []float64{1, 2}, []float64{1, 2}, false, "0:1-2"},
		{"equal is not below", []float64{1, 2}, []float64{1, 2}, true, "1:1-2 0:0-2"},
		{"a gap ends a run", []float64{3, absent, 3}, []float64{1, 2}, false, "1:0-1 0:0-1 1:2-3 0:2-3"},
		{"NaN is above nothing", []float64{3, math.NaN(), math.Inf(1)}, []float64{1}, false, "0:0-1 0:2-3"},
		{"no threshold", []float64{1, 2}, nil, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			Runs(c.values, c.thresholds, c.orEqual, func(threshold, from, to int) {
				got = append(got, fmt.Sprintf("%d:%d-%d", threshold, from, to))
			})
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

func TestRunsAgreesWithLooking(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		values, thresholds := make([]float64, 60), make([]float64, r.IntN(8))
		for i := range values {
			values[i] = math.Round(r.Float64()*10) / 2
			if r.IntN(9) == 0 {
				values[i] = math.Float64frombits(absentBits)
			}
		}
		for i := range thresholds {
			thresholds[i] = math.Round(r.Float64()*10) / 2
		}
		slices.Sort(thresholds)
		orEqual := r.IntN(2) == 0
		got := make([][]bool, len(thresholds))
		for i := range got {
			got[i] = make([]bool, len(values))
		}
		Runs(values, thresholds, orEqual, func(threshold, from, to int) {
			for i := from; i < to; i++ {
				got[threshold][i] = true
			}
		})
		for i, th := range thresholds {
			for k, v := range values {
				if want := v > th || orEqual && v == th; got[i][k] != want {
					t.Fatalf("threshold %v, value %v: %t, want %t", th, v, got[i][k], want)
				}
			}
		}
	}
}

const sweepRules = `
groups:
- name: g
  rules:
  - {record: burn:long, expr: x}
  - {record: burn:short, expr: y}
  - {record: failures, expr: z}
  - {alert: Burn, expr: 'burn:long > %[1]v and burn:short > %[1]v and failures >= 5', for: %[2]s, labels: {severity: page}}
`

// What a sweep says of a threshold, a replay with that threshold says too.
func TestSweepAgreesWithReplays(t *testing.T) {
	history := promqltest.LoadedStorage(t, `
load 1m
  x{t="a"} 1 3 5 7 5 3 1 9 9 9 2 2 6 _ _ _ _ _ _ _ 4
  y{t="a"} 9 9 6 6 6 6 6 6 3 3 3 3 8 8 8 8 8 8 8 8 8
  z{t="a"} 9 9 9 9 9 1 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9
  x{t="b"} 8x20
  y{t="b"} 8x20
  x{t="c"} 4x20
  y{t="c"} 3x20
  z{t="c"} 7x20
`)
	defer history.Close()
	o := minutes(20)
	o.Operands = true
	base, err := Replay(context.Background(), ruleGroups(t, fmt.Sprintf(sweepRules, 100, "0s")), history, o)
	if err != nil {
		t.Fatal(err)
	}
	s := base.Outcomes[0].Rules[3].Sweep
	if s == nil {
		t.Fatal("the alert was not taken apart")
	}
	if got, want := fmt.Sprint(s.Params), "[{burn:long > 100} {burn:short > 100} {failures >= 5}]"; got != want {
		t.Errorf("parameters %s, want %s", got, want)
	}
	thresholds := []float64{0.5, 1, 2, 3, 4, 5.5, 6, 8}
	for _, hold := range []time.Duration{0, 90 * time.Second, 3 * time.Minute} {
		swept := firings(t, s, base.Outcomes[0].Ticks, thresholds, hold)
		for i, threshold := range thresholds {
			done, err := Replay(context.Background(), ruleGroups(t, fmt.Sprintf(sweepRules, threshold, hold)), history, minutes(20))
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, e := range done.Outcomes[0].Rules[3].Episodes {
				if !e.FiredAt.IsZero() {
					want = append(want, fmt.Sprintf("%s %d", e.Labels, e.FiredAt.Unix()/60))
				}
			}
			if got := swept[i]; !slices.Equal(got, want) {
				t.Errorf("threshold %v for %s: swept %v, replayed %v", threshold, hold, got, want)
			}
		}
	}
}

// firings lists, for each threshold, when which alert fires.
func firings(t *testing.T, s *Sweep, ticks Ticks, thresholds []float64, hold time.Duration) [][]string {
	all := make([][]string, len(thresholds))
	for i, series := range s.Series {
		column, err := s.Effective(nil, i, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		Runs(column, thresholds, false, func(threshold, from, to int) {
			if to-from > ticks.Held(hold) {
				all[threshold] = append(all[threshold], fmt.Sprintf("%s %d", series.Labels, from+ticks.Held(hold)))
			}
		})
	}
	return all
}

func TestSweepOfOtherShapes(t *testing.T) {
	history := promqltest.LoadedStorage(t, "load 1m\n  x{a=\"1\"} 1 2\n  y{a=\"1\",b=\"1\"} 1 2\n  y{a=\"1\",b=\"2\"} 1 2")
	defer history.Close()
	for expr, want := range map[string]string{
		"x > 1":                        "[{x > 1}]",
		"2 > x":                        "[{x < 2}]",
		"x > 1 and on (a) y > 1":       "none", // two series of y for one of x
		"y > 1 and on (a) x <= 3":      "[{y > 1} {x <= 3}]",
		"x > 1 or x < 0":               "none",
		"x > bool 1":                   "none",
		"x":                            "none",
		"x > 0 and (x < 9 and x != 3)": "[{x > 0} {x < 9} {x != 3}]",
	} {
		o := minutes(1)
		o.Operands = true
		groups := ruleGroups(t, "groups:\n- {name: g, rules: [{alert: A, expr: '"+expr+"'}]}")
		done, err := Replay(context.Background(), groups, history, o)
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if s := done.Outcomes[0].Rules[0].Sweep; s != nil {
			got = fmt.Sprint(s.Params)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", expr, got, want)
		}
	}
}
