package evaluator

import (
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/schema"
)

// blockTicks is how many ticks are computed in one go: few enough that what passes between the steps of an
// expression stays in the processor's nearest cache.
const blockTicks = 512

// vector is what a node yields: series with a value, or none, for each tick. No two series have the same labels.
type vector struct {
	labels []labels.Labels
	// ordered says that at every tick the elements that are there come in the order of labels. If not, what
	// upstream does with them depends on who is there first, and a sum of them can't be made in columns.
	ordered bool
	// cols are the whole columns, where they are at hand. Else fill computes the ticks from lo to hi, into buf.
	cols [][]float64
	full [][]bool // which of their blocks are known to have a value at every tick; nil where nothing is known
	fill func(lo, hi int)
	// buf holds one block for each series; nil where the series has no value in all of it.
	buf   [][]float64
	own   [][]float64 // memory for buf, which is
	arena *arena      // from here, and its until the job ends
	dense []bool      // which blocks in buf are known to have a value at every tick
	block int         // where the block in buf begins; -1 if there is none
}

func newVector(l []labels.Labels, ordered bool) *vector {
	return &vector{labels: l, ordered: ordered, buf: make([][]float64, len(l)), own: make([][]float64, len(l)), dense: make([]bool, len(l)), block: -1}
}

// at yields the ticks from lo to hi. What it returns is valid until it is called with another lo.
func (v *vector) at(lo, hi int) [][]float64 {
	if v.block == lo {
		return v.buf
	}
	v.block = lo
	if v.cols == nil {
		clear(v.dense)
		v.fill(lo, hi)
		return v.buf
	}
	for i, blocks := range v.full {
		v.dense[i] = blocks != nil && blocks[lo/blockTicks]
	}
	for i, col := range v.cols {
		v.buf[i] = col[lo:hi]
	}
	return v.buf
}

// room is memory for a block of series i.
func (v *vector) room(i, n int) []float64 {
	if v.own[i] == nil {
		v.own[i] = v.arena.blocks.take()
	}
	return v.own[i][:n]
}

// uniqueLabels reports whether no two are equal.
func uniqueLabels(all []labels.Labels) bool {
	seen := make(map[string]bool, len(all))
	for _, l := range all {
		key := string(l.Bytes(nil))
		if seen[key] {
			return false
		}
		seen[key] = true
	}
	return true
}

func dropName(l labels.Labels) labels.Labels { return l.DropReserved(schema.IsMetadataLabel) }

func dropNames(all []labels.Labels) []labels.Labels {
	dropped := make([]labels.Labels, len(all))
	for i, l := range all {
		dropped[i] = dropName(l)
	}
	return dropped
}

const (
	whyTwins     = "series differ in nothing but their names, which the operation drops"
	whyManyMany  = "an operation might find several partners for a series"
	whyUnordered = "the order of addition depends on which series are there"
)

// constantVector is one element without labels.
func constantVector(c *constant) *vector {
	v := newVector([]labels.Labels{labels.EmptyLabels()}, true)
	v.fill = func(lo, hi int) {
		out := v.room(0, hi-lo)
		for i := range out {
			out[i] = c.value
		}
		v.buf[0] = out
	}
	return v
}

// changesName reports whether upstream takes the name from the results of an operator.
func changesName(op parser.ItemType) bool { return !op.IsComparisonOperator() && !op.IsSetOperator() }

func scaledVector(n *scaled, of *vector) (*vector, error) {
	names := of.labels
	if changesName(n.op) || n.isBool {
		if names = dropNames(names); !uniqueLabels(names) {
			return nil, unsupported(whyTwins)
		}
	}
	v := newVector(names, of.ordered)
	apply := n.apply()
	v.fill = func(lo, hi int) {
		for i, in := range of.at(lo, hi) {
			v.buf[i] = nil
			if in != nil {
				v.buf[i], v.dense[i] = apply(in, of.dense[i], func() []float64 { return v.room(i, hi-lo) })
			}
		}
	}
	return v, nil
}

// apply is the operation on a block, of which may be known that it is dense: its result is nil if nothing is left,
// and the block itself if nothing changes.
func (n *scaled) apply() func(in []float64, dense bool, room func() []float64) ([]float64, bool) {
	c, absent := n.number, math.Float64frombits(absentBits)
	switch {
	case n.op == parser.DIV && !n.swap:
		return func(in []float64, dense bool, room func() []float64) ([]float64, bool) {
			out := room()
			for i, x := range in {
				if dense || math.Float64bits(x) != absentBits {
					x /= c
				}
				out[i] = x
			}
			return out, dense
		}
	case n.op == parser.GTR && !n.swap && !n.isBool:
		return func(in []float64, _ bool, room func() []float64) ([]float64, bool) {
			switch countAbove(in, c) {
			case 0: // nearly always, for an alert
				return nil, false
			case len(in): // nearly always, for traffic
				return in, true
			}
			out := room()
			for i, x := range in {
				if !(x > c) { // as no value isn't, being a NaN
					x = absent
				}
				out[i] = x
			}
			return out, false
		}
	}
	return func(in []float64, _ bool, room func() []float64) ([]float64, bool) {
		out := room()
		for i, x := range in {
			out[i] = absent
			if math.Float64bits(x) != absentBits {
				out[i] = n.element(x)
			}
		}
		return out, false
	}
}

func countAbove(in []float64, c float64) int {
	n := 0
	for _, x := range in {
		if x > c {
			n++
		}
	}
	return n
}

// element is the operation on one value.
func (n *scaled) element(x float64) float64 {
	l, r := x, n.number
	if n.swap {
		l, r = r, l
	}
	v, keep := operate(n.op, l, r)
	if n.op.IsComparisonOperator() {
		v = x // the vector's element is kept, on whichever side it stands
	}
	return kept(v, keep, n.isBool)
}

// kept is the value of an operation's result, given whether a comparison kept it and whether it was asked for 1 or 0.
func kept(v float64, keep, isBool bool) float64 {
	switch {
	case isBool:
		return indicator(keep)
	case keep:
		return v
	}
	return math.Float64frombits(absentBits)
}

func negatedVector(of *vector) (*vector, error) {
	names := dropNames(of.labels)
	if !uniqueLabels(names) {
		return nil, unsupported(whyTwins)
	}
	v := newVector(names, of.ordered)
	v.fill = func(lo, hi int) {
		for i, in := range of.at(lo, hi) {
			v.buf[i] = nil
			if in == nil {
				continue
			}
			out := v.room(i, hi-lo)
			for j, x := range in {
				out[j] = x
				if math.Float64bits(x) != absentBits {
					out[j] = -x
				}
			}
			v.buf[i] = out
		}
	}
	return v, nil
}

// pairedVector joins two vectors.
func pairedVector(n *paired, lhs, rhs *vector) (*vector, error) {
	l, r := signatures(lhs.labels, n.matching), signatures(rhs.labels, n.matching)
	switch n.op {
	case parser.LAND, parser.LUNLESS:
		return filtered(n.op, lhs, rhs, l, r), nil
	case parser.LOR:
		return united(lhs, rhs, l, r), nil
	}
	if !unique(l) || !unique(r) {
		return nil, unsupported(whyManyMany)
	}
	return joined(n, lhs, rhs, l, r)
}

// signatures spells, for each series, the labels by which it is matched.
func signatures(all []labels.Labels, m *parser.VectorMatching) []string {
	var keys []string
	for _, l := range all {
		keys = append(keys, string(l.MatchLabels(m.On, m.MatchingLabels...).Bytes(nil)))
	}
	return keys
}

func unique(keys []string) bool {
	seen := make(map[string]bool, len(keys))
	for _, k := range keys {
		if seen[k] {
			return false
		}
		seen[k] = true
	}
	return true
}

func positions(keys []string) map[string][]int {
	at := make(map[string][]int, len(keys))
	for i, k := range keys {
		at[k] = append(at[k], i)
	}
	return at
}

// joined pairs each series of the left with the one of the right that has its signature.
func joined(n *paired, lhs, rhs *vector, l, r []string) (*vector, error) {
	partner := positions(r)
	var (
		names []labels.Labels
		pairs [][2]int
	)
	for i, key := range l {
		for _, j := range partner[key] {
			names = append(names, n.resultLabels(lhs.labels[i]))
			pairs = append(pairs, [2]int{i, j})
		}
	}
	if !uniqueLabels(names) {
		return nil, unsupported(whyManyMany)
	}
	v := newVector(names, lhs.ordered)
	v.fill = func(lo, hi int) {
		a, b := lhs.at(lo, hi), rhs.at(lo, hi)
		for i, p := range pairs {
			v.buf[i] = nil
			if a[p[0]] != nil && b[p[1]] != nil {
				out := v.room(i, hi-lo)
				v.dense[i] = lhs.dense[p[0]] && rhs.dense[p[1]] && !n.op.IsComparisonOperator()
				n.join(out, a[p[0]], b[p[1]], v.dense[i])
				v.buf[i] = out
			}
		}
	}
	return v, nil
}

// resultLabels are the labels of a one-to-one operation's result.
func (n *paired) resultLabels(l labels.Labels) labels.Labels {
	b := labels.NewBuilder(l)
	if changesName(n.op) || n.isBool {
		b.Reset(dropName(l))
	}
	if n.matching.On {
		b.Keep(n.matching.MatchingLabels...)
	} else {
		b.Del(n.matching.MatchingLabels...)
	}
	return b.Labels()
}

func (n *paired) join(out, a, b []float64, dense bool) {
	absent := math.Float64frombits(absentBits)
	if n.op == parser.DIV && dense {
		b = b[:len(a)]
		for i, x := range a {
			out[i] = x / b[i]
		}
		return
	}
	if n.op == parser.DIV {
		for i, x := range a {
			if y := b[i]; math.Float64bits(x) != absentBits && math.Float64bits(y) != absentBits {
				out[i] = x / y
			} else {
				out[i] = absent
			}
		}
		return
	}
	for i, x := range a {
		out[i] = absent
		if y := b[i]; math.Float64bits(x) != absentBits && math.Float64bits(y) != absentBits {
			v, keep := operate(n.op, x, y)
			out[i] = kept(v, keep, n.isBool)
		}
	}
}

// filtered is lhs where some series of rhs with the same signature is there (and), or where none is (unless).
func filtered(op parser.ItemType, lhs, rhs *vector, l, r []string) *vector {
	partners := positions(r)
	v := newVector(lhs.labels, lhs.ordered)
	v.fill = func(lo, hi int) {
		a := lhs.at(lo, hi)
		clear(v.buf)
		if quiet(a) {
			return
		}
		b := rhs.at(lo, hi)
		for i, in := range a {
			if in != nil {
				v.buf[i] = mask(op, v, i, in, partners[l[i]], b)
			}
		}
	}
	return v
}

func mask(op parser.ItemType, v *vector, i int, in []float64, partners []int, b [][]float64) []float64 {
	var there [][]float64
	for _, j := range partners {
		if b[j] != nil {
			there = append(there, b[j])
		}
	}
	switch {
	case len(there) == 0 && op == parser.LAND:
		return nil
	case len(there) == 0:
		return in
	}
	out, absent, found := v.room(i, len(in)), math.Float64frombits(absentBits), false
	for k, x := range in {
		if present(there, k) != (op == parser.LAND) {
			x = absent
		}
		out[k] = x
		found = found || math.Float64bits(x) != absentBits
	}
	if !found {
		return nil
	}
	return out
}

func present(all [][]float64, k int) bool {
	for _, col := range all {
		if math.Float64bits(col[k]) != absentBits {
			return true
		}
	}
	return false
}

// united is lhs, and what is in rhs under a signature that nothing in lhs has at that tick. A series of rhs with
// the labels of one in lhs is the same series: they are never there at once.
func united(lhs, rhs *vector, l, r []string) *vector {
	byLabels := map[string]int{}
	names := append([]labels.Labels(nil), lhs.labels...)
	for i, n := range lhs.labels {
		byLabels[string(n.Bytes(nil))] = i
	}
	blockers := positions(l)
	twin := make([]int, len(rhs.labels)) // where the series goes
	for j, n := range rhs.labels {
		at, ok := byLabels[string(n.Bytes(nil))]
		if !ok {
			at = len(names)
			names = append(names, n)
		}
		twin[j] = at
	}
	v := newVector(names, false)
	v.fill = func(lo, hi int) {
		a := lhs.at(lo, hi)
		clear(v.buf)
		copy(v.buf, a)
		copy(v.dense, lhs.dense)
		if covered(r, blockers, lhs) {
			return
		}
		for j, in := range rhs.at(lo, hi) {
			if in != nil {
				v.buf[twin[j]] = v.fillIn(twin[j], v.buf[twin[j]], in, blockers[r[j]], a)
			}
		}
	}
	return v
}

// covered reports whether, for every signature of the right, a single series of the left is there at every tick: then
// the right need not be known.
func covered(right []string, blockers map[string][]int, lhs *vector) bool {
	for _, key := range right {
		if !slices.ContainsFunc(blockers[key], func(at int) bool { return lhs.dense[at] }) {
			return false
		}
	}
	return true
}

// fillIn puts in what is there of in where no blocker is.
func (v *vector) fillIn(i int, base, in []float64, blockers []int, a [][]float64) []float64 {
	var there [][]float64
	for _, at := range blockers {
		if a[at] != nil {
			there = append(there, a[at])
		}
	}
	if len(there) == 0 && base == nil {
		return in
	}
	out := v.room(i, len(in))
	if base == nil {
		fillAbsent(out)
	} else {
		copy(out, base)
	}
	for k, x := range in {
		if math.Float64bits(x) != absentBits && !present(there, k) {
			out[k] = x
		}
	}
	return out
}

// unknownNode is what a switch over nodes panics with.
func unknownNode(n node) string { return fmt.Sprintf("evaluator: node %T", n) }
