package evaluator

import (
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/kahansum"
)

// tally is one group of an aggregation while its series come, in order, one after another. It keeps no series.
type tally struct {
	op     parser.ItemType
	sum    []float64 // or the count, the least, the greatest: absent where no series was yet
	filled int       // up to where sum, or second while it is there, has been written
	series int       // how many have come
	dense  []bool    // the blocks in which some series is known to have a value at every tick
	second []float64 // of a sum, the second of two series
	c      []float64 // what Kahan summation compensates; nil until a third series comes
	count  []float64 // of an average
	spilt  bool      // an average overflowed: only the engine knows how to go on
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

// come announces the next series. Columns that more yields hold anything.
//
// Two numbers need no compensation: what it makes up for is exactly what their sum lost in rounding, so adding it
// rounds to the same sum again. So the second series of a sum is kept until the end, or until a third comes.
func (t *tally) come(more func() []float64) {
	t.series++
	if t.series == 1 || t.op != parser.SUM {
		return
	}
	t.close()
	switch {
	case t.series == 2:
		t.second, t.filled = more(), 0
	case t.second != nil:
		second := t.second
		t.second, t.filled = nil, len(t.sum)
		t.c = more()
		clear(t.c)
		t.addSum(t.sum, second, t.c)
	}
}

// noteDense notes that a series has a value at every tick of the block that begins at lo.
func (t *tally) noteDense(lo int) {
	if t.dense == nil {
		t.dense = make([]bool, len(t.sum)/blockTicks+1)
	}
	t.dense[lo/blockTicks] = true
}

// direct is where the ticks from lo to hi of the series that has come may be written in place of adding them; nil if
// they have to be added.
func (t *tally) direct(lo, hi int) []float64 {
	into := t.second
	switch {
	case t.op != parser.SUM || into == nil && t.series > 1:
		return nil
	case into == nil:
		into = t.sum
	}
	t.fill(lo)
	t.filled = hi
	return into[lo:hi]
}

// add takes in a block of the series that has come, of the ticks from lo. more is as for come.
func (t *tally) add(in []float64, lo int, more func() []float64) {
	hi := lo + len(in)
	switch {
	case t.second != nil:
		t.fill(lo)
		copy(t.second[lo:hi], in)
		t.filled = hi
		return
	case t.op == parser.SUM && t.series <= 1:
		t.fill(lo)
		firstSum(t.sum[lo:hi], in)
		t.filled = hi
		return
	}
	t.fill(hi)
	sum := t.sum[lo:hi]
	switch t.op {
	case parser.SUM:
		t.addSum(sum, in, t.c[lo:hi])
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

// fill says of the ticks up to the given one, where nothing has been said yet, that nothing is there.
func (t *tally) fill(upTo int) {
	into := t.sum
	if t.second != nil {
		into = t.second
	}
	if t.filled < upTo {
		fillAbsent(into[t.filled:upTo])
		t.filled = upTo
	}
}

func (t *tally) close() { t.fill(len(t.sum)) }

// firstSum takes in the first series. It adds zero, which makes of -0 the 0 that the compensation makes of it in the
// end.
func firstSum(sum, in []float64) {
	for i, x := range in {
		if math.Float64bits(x) != absentBits {
			x += 0
		}
		sum[i] = x
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

func (*tally) addSum(sum, in, c []float64) {
	for i, x := range in {
		switch {
		case math.Float64bits(x) == absentBits:
		case math.Float64bits(sum[i]) == absentBits:
			sum[i] = x + 0
		default:
			sum[i], c[i] = kahansum.Inc(x, sum[i], c[i])
		}
	}
}

// addTwo adds the second of two series.
func addTwo(sum, second []float64) {
	for i, x := range second {
		switch {
		case math.Float64bits(x) == absentBits:
		case math.Float64bits(sum[i]) == absentBits:
			sum[i] = x + 0
		default:
			sum[i] += x
		}
	}
}

func (t *tally) addMean(sum, in []float64, lo int, more func() []float64) {
	if t.c == nil {
		t.c, t.count = more(), more()
		clear(t.c)
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

// finish completes the group when all its series have come.
func (t *tally) finish() {
	t.close()
	if t.second != nil {
		addTwo(t.sum, t.second)
		return
	}
	if t.c == nil {
		return
	}
	for i, s := range t.sum {
		switch {
		case math.Float64bits(s) == absentBits:
		case t.op == parser.AVG:
			t.sum[i] = s/t.count[i] + t.c[i]/t.count[i]
		default:
			t.sum[i] = s + t.c[i]
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
	var spare [][]float64
	v.fill = func(lo, hi int) {
		used := 0
		more := func() []float64 { // one of the spare blocks: they serve for every fill
			if used == len(spare) {
				spare = append(spare, make([]float64, blockTicks))
			}
			used++
			return spare[used-1][:hi-lo]
		}
		for i := range tallies {
			tallies[i] = tally{op: f.op, sum: v.room(i, hi-lo)}
			v.buf[i] = tallies[i].sum
		}
		for i, in := range of.at(lo, hi) {
			if in != nil {
				tallies[into[i]].come(more)
				tallies[into[i]].add(in, 0, more)
			}
		}
		for i := range tallies {
			tallies[i].finish()
			if tallies[i].spilt {
				spilt()
			}
		}
	}
	return v, nil
}
