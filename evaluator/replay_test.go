package evaluator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
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
	for m, least := range map[Method]uint64{Columnar: 2 * n, Ranged: n / 4, Ticked: n / 10, Grouped: n} {
		if n >= 60 && uint64(methods[m]) < least {
			t.Errorf("only %d rules by %s: the worlds prove little of it", methods[m], m)
		}
	}
}

func FuzzReplay(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(1000 + seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { bothWays(t, seed) })
}

func TestReplayByPartitionAgreesWithTheWhole(t *testing.T) {
	cut := 0
	for seed := uint64(1); seed <= 40; seed++ {
		w := newWorld(seed)
		w.history = valued{chunked{w.memory}}
		w.groups = &rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{
			{Name: "apart", Rules: w.burnRatesOf("by (tenant)")},
			{Name: "mixed", Rules: []rulefmt.Rule{{Record: "mixed", Expr: "sum(rate(requests_total[2m]))"}}},
			{Name: "reader", Rules: []rulefmt.Rule{
				{Record: "late", Expr: "max_over_time(error_budget:burn_rate:2m[7m]) - error_budget:burn_rate:5m"},
				{Record: "wild", Expr: "clamp_max(rate(requests_total[3m]), 1) or stddev by (tenant) (load)"},
			}},
		}}
		o := w.options()
		whole, err := Replay(context.Background(), w.groups, w.history, o)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		o.PartitionBy, o.PartSize = "tenant", 1
		parts, err := Replay(context.Background(), w.groups, w.history, o)
		if errors.Is(err, ErrPartition) {
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, out := range parts.Outcomes {
			if out.Partition != nil {
				cut++
			}
		}
		if a, b := describe(sorted(whole.Outcomes)), describe(together(whole, parts)); a != b {
			t.Errorf("seed %d: %s\n%s", seed, firstDifference(a, b), w.rules(parts.Rules))
		}
	}
	if cut < 60 {
		t.Errorf("only %d outcomes came in parts: the test proves nothing", cut)
	}
}

// together puts the parts of each group together.
func together(whole, parts *Replayed) []*Outcome {
	byGroup := map[int]*Outcome{}
	for _, out := range parts.Outcomes {
		into := byGroup[out.Group]
		if into == nil {
			byGroup[out.Group] = out
			continue
		}
		for i, r := range out.Rules {
			into.Rules[i].Columns = append(into.Rules[i].Columns, r.Columns...)
			into.Rules[i].Episodes = append(into.Rules[i].Episodes, r.Episodes...)
		}
	}
	for _, out := range whole.Outcomes { // a group of no tenant has no part
		if byGroup[out.Group] == nil {
			empty := *out
			empty.Rules = slices.Clone(out.Rules)
			for i := range empty.Rules {
				empty.Rules[i].Columns, empty.Rules[i].Episodes, empty.Rules[i].Failures = nil, nil, nil
			}
			byGroup[out.Group] = &empty
		}
	}
	var all []*Outcome
	for _, out := range byGroup {
		for i := range out.Rules {
			slices.SortFunc(out.Rules[i].Columns, func(a, b Column) int { return labels.Compare(a.Labels, b.Labels) })
			sortEpisodes(out.Rules[i].Episodes)
		}
		all = append(all, out)
	}
	return sorted(all)
}

// What the reference records is what the engine answers for the same expression: neither is only equal to the other.
func TestReferenceAgreesWithTheEngine(t *testing.T) {
	queries := []string{
		`sum by (tenant) (rate(requests_total[5m]))`, `increase(requests_total{code=~"5.."}[11m])`, `load > 0`,
		`sum without (code) (avg_over_time(load[3m]))`, `-latency_count * 2`, `requests_total and on (tenant) load`,
	}
	for seed := uint64(1); seed <= 5; seed++ {
		w := newWorld(seed)
		groups := &rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{{Name: "g"}}}
		for i, q := range queries {
			groups.Groups[0].Rules = append(groups.Groups[0].Rules, rulefmt.Rule{Record: fmt.Sprintf("r%d", i), Expr: q})
		}
		o := w.options()
		o.Reference = true
		done, err := Replay(context.Background(), groups, w.memory, o)
		if err != nil {
			t.Fatal(err)
		}
		out := done.Outcomes[0]
		o, _ = o.withDefaults()
		ask := rules.EngineQueryFunc(o.engine(), w.memory)
		for i, q := range queries {
			for tick := range out.Ticks.N {
				want, err := ask(context.Background(), q, out.Ticks.At(tick))
				if err != nil {
					t.Fatal(err)
				}
				var got promql.Vector
				for _, c := range out.Rules[i].Columns {
					if v := c.Values[tick]; !Absent(v) {
						got = append(got, promql.Sample{Metric: dropName(c.Labels), F: v})
					}
				}
				if a, b := spelled(got), spelled(want); a != b {
					t.Fatalf("seed %d, %s at tick %d: recorded\n%s\nthe engine says\n%s", seed, q, tick, a, b)
				}
			}
		}
	}
}

func spelled(v promql.Vector) string {
	var all []string
	for _, s := range v {
		all = append(all, dropName(s.Metric).String()+" "+bits(s.F))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}
