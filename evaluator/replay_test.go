package evaluator

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// describe spells outcomes to the last bit, so that two ways to replay can be compared.
func describe(outcomes []*Outcome) string {
	var b strings.Builder
	for _, o := range outcomes {
		fmt.Fprintf(&b, "group %d %s from %s each %s times %d\n", o.Group, o.Name, o.Ticks.Start, o.Ticks.Interval, o.Ticks.N)
		for _, r := range o.Rules {
			fmt.Fprintf(&b, " rule %d %s%s\n", r.Index, r.Record, r.Alert)
			for _, f := range r.Failures {
				fmt.Fprintf(&b, "  fails at %d\n", f.Tick)
			}
			for _, c := range r.Columns {
				fmt.Fprintf(&b, "  %s\n", c.Labels)
				for i, v := range c.Values {
					if !Absent(v) {
						fmt.Fprintf(&b, "   %d: %s", i, bits(v))
						if h := c.Histograms[i]; h != nil {
							fmt.Fprintf(&b, " %s", h)
						}
						b.WriteByte('\n')
					}
				}
			}
			for _, e := range r.Episodes {
				fmt.Fprintf(&b, "  %s active %s fired %s resolved %s value %s peak %s\n", e.Labels, e.ActiveAt, e.FiredAt, e.ResolvedAt, bits(e.Value), bits(e.Peak))
			}
		}
	}
	return b.String()
}

func bits(v float64) string {
	if math.IsNaN(v) {
		return "NaN"
	}
	return fmt.Sprintf("%v (%x)", v, math.Float64bits(v))
}

// firstDifference shows where two descriptions part.
func firstDifference(a, b string) string {
	la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
	context := ""
	for i := range min(len(la), len(lb)) {
		if la[i] != lb[i] {
			return fmt.Sprintf("line %d, in %s\nreference: %s\ncolumns:   %s", i, context, la[i], lb[i])
		}
		if strings.HasPrefix(la[i], " rule") || strings.HasPrefix(la[i], "  {") || strings.HasPrefix(la[i], "group") {
			context += "\n" + la[i]
		}
	}
	return fmt.Sprintf("lengths %d and %d", len(la), len(lb))
}

// bothWays replays a world by the reference and in columns, and fails where they differ.
func bothWays(t testing.TB, seed uint64) []RuleReport {
	t.Helper()
	w := newWorld(seed)
	o := w.options()
	columns, err := Replay(context.Background(), w.groups, w.history, o)
	if err != nil {
		t.Fatalf("seed %d: columns: %v", seed, err)
	}
	o.Reference = true
	reference, err := Replay(context.Background(), w.groups, w.history, o)
	if err != nil {
		t.Fatalf("seed %d: reference: %v", seed, err)
	}
	if a, b := describe(sorted(reference.Outcomes)), describe(sorted(columns.Outcomes)); a != b {
		t.Errorf("seed %d: %s\n%s", seed, firstDifference(a, b), w.rules(columns.Rules))
	}
	return columns.Rules
}

func sorted(outcomes []*Outcome) []*Outcome {
	slices.SortFunc(outcomes, func(a, b *Outcome) int { return a.Group - b.Group })
	return outcomes
}

// rules prints the world's rules, and how they were evaluated.
func (w *world) rules(reports []RuleReport) string {
	var b strings.Builder
	at := 0
	for _, g := range w.groups.Groups {
		fmt.Fprintf(&b, "%s interval %s limit %d\n", g.Name, g.Interval, g.Limit)
		for _, r := range g.Rules {
			fmt.Fprintf(&b, "  %s%s = %s  %v", r.Record, r.Alert, r.Expr, labels.FromMap(r.Labels))
			if at < len(reports) {
				fmt.Fprintf(&b, "    [%s: %s]", reports[at].Method, reports[at].Reason)
			}
			b.WriteByte('\n')
			at++
		}
	}
	return b.String()
}

func TestReplayOfRandomWorldsAgreesWithTheReference(t *testing.T) {
	first, n := uint64(1), uint64(60)
	if s, err := strconv.ParseUint(os.Getenv("REPLAY_WORLDS"), 10, 64); err == nil {
		n = s
	}
	if s, err := strconv.ParseUint(os.Getenv("REPLAY_SEED"), 10, 64); err == nil {
		first, n = s, 1
	}
	methods := map[Method]int{}
	for seed := first; seed < first+n; seed++ {
		for _, r := range bothWays(t, seed) {
			methods[r.Method]++
		}
	}
	t.Log(methods)
}
