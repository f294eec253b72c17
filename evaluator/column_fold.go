package evaluator

import (
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/kahansum"
)

// tally is one group of an aggregation while its series come, in order, one after another. It keeps no series.
type tally struct {
	op    parser.ItemType
	sum   []float64 // or the count, the least, the greatest: absent where no series was yet
	c     []float64 // what Kahan summation compensates; nil until a second series comes
	count []float64 // of an average
	spilt bool      // an average overflowed: only the engine knows how to go on
}

// grouping assigns series to the groups of a fold.
type grouping struct {
	fold   *fold
	groups map[string]int
	labels []labels.Labels
	last   int
	mixed  bool // a group was left and came again: its place among the groups depends on who is there
}

func newGrouping(f *fold) *grouping {
	return &grouping{fold: f, groups: map[string]int{}, last: -1}
}

// of is the group of a series; new ones come at the end.
func (g *grouping) of(l labels.Labels) int {
	result := labels.EmptyLabels()
	switch b := labels.NewBuilder(l); {
	case g.fold.without:
		b.Del(g.fold.by...)
		b.Del(labels.MetricName)
		result = b.Labels()
	case len(g.fold.by) > 0:
		b.Keep(g.fold.by...)
		result = b.Labels()
	}
	key := string(result.Bytes(nil))
	at, ok := g.groups[key]
	if !ok {
		at = len(g.labels)
		g.groups[key] = at
		g.labels = append(g.labels, result)
	}
	g.mixed = g.mixed || ok && at != g.last
	g.last = at
	return at
}

// sensitive reports whether the result depends on the order in which series come.
func sensitive(op parser.ItemType) bool { return op != parser.COUNT && op != parser.GROUP }

// add takes in a block of one series, of the ticks from lo. more yields memory for the whole of a column, zeroed.
func (t *tally) add(in []float64, lo int, more func() []float64) {
	sum := t.sum[lo : lo+len(in)]
	switch t.op {
	case parser.SUM:
		t.addSum(sum, in, lo, more)
	case parser.AVG:
		t.addMean(sum, in, lo, more)
	case parser.COUNT:
		for i, x := range in {
			if math.Float64bits(x) == absentBits {
				continue
			}
			if math.Float64bits(sum[i]) == absentBits {
				sum[i] = 0
			}
			sum[i]++
		}
	default:
		for i, x := range in {
			if math.Float64bits(x) != absentBits {
				sum[i] = t.pick(sum[i], x)
			}
		}
	}
}

func (t *tally) pick(old, x float64) float64 {
	first := math.Float64bits(old) == absentBits
	switch {
	case t.op == parser.GROUP:
		return 1
	case first || math.IsNaN(old) || t.op == parser.MAX && old < x || t.op == parser.MIN && old > x:
		return x
	}
	return old
}

// addSum adds zero to what comes first, which makes of -0 the 0 that the compensation makes of it in the end.
func (t *tally) addSum(sum, in []float64, lo int, more func() []float64) {
	var c []float64
	if t.c != nil {
		c = t.c[lo : lo+len(in)]
	}
	for i, x := range in {
		switch {
		case math.Float64bits(x) == absentBits:
		case math.Float64bits(sum[i]) == absentBits:
			sum[i] = x + 0
		default:
			if c == nil {
				t.c = more()
				c = t.c[lo : lo+len(in)]
			}
			sum[i], c[i] = kahansum.Inc(x, sum[i], c[i])
		}
	}
}

func (t *tally) addMean(sum, in []float64, lo int, more func() []float64) {
	if t.c == nil {
		t.c, t.count = more(), more()
	}
	c, count := t.c[lo:lo+len(in)], t.count[lo:lo+len(in)]
	for i, x := range in {
		switch {
		case math.Float64bits(x) == absentBits:
		case math.Float64bits(sum[i]) == absentBits:
			sum[i], count[i] = x, 1
		default:
			s, sc := kahansum.Inc(x, sum[i], c[i])
			t.spilt = t.spilt || math.IsInf(s, 0)
			sum[i], c[i] = s, sc
			count[i]++
		}
	}
}

// finish completes n ticks from lo.
func (t *tally) finish(lo, n int) {
	if t.c == nil {
		return
	}
	sum, c := t.sum[lo:lo+n], t.c[lo:lo+n]
	for i, s := range sum {
		switch {
		case math.Float64bits(s) == absentBits:
		case t.op == parser.AVG:
			sum[i] = s/t.count[lo+i] + c[i]/t.count[lo+i]
		default:
			sum[i] = s + c[i]
		}
	}
}

// foldVector aggregates what an expression yields, block by block.
func foldVector(f *fold, of *vector, spilt func()) (*vector, error) {
	if sensitive(f.op) && !of.ordered {
		return nil, unsupported(whyUnordered)
	}
	g := newGrouping(f)
	into := make([]int, len(of.labels))
	for i, l := range of.labels {
		into[i] = g.of(l)
	}
	v := newVector(g.labels, of.ordered && !g.mixed)
	tallies := make([]tally, len(g.labels))
	zeroed := func() []float64 { return make([]float64, blockTicks) }
	v.fill = func(lo, hi int) {
		for i := range tallies {
			old := tallies[i]
			tallies[i] = tally{op: f.op, sum: v.room(i, hi-lo), c: old.c, count: old.count}
			fillAbsent(tallies[i].sum)
			clear(old.c)
			clear(old.count)
			v.buf[i] = tallies[i].sum
		}
		for i, in := range of.at(lo, hi) {
			if in != nil {
				tallies[into[i]].add(in, 0, zeroed)
			}
		}
		for i := range tallies {
			tallies[i].finish(0, hi-lo)
			if tallies[i].spilt {
				spilt()
			}
		}
	}
	return v, nil
}
