package evaluator

import (
	"math"
	"slices"
)

// grid is a series as seen from its ticks, and from the steps before them that windows reach back to: at each, what
// lies next to it on either side. Where the windows of a rate are whole numbers of steps long, every window ends at
// one line of the grid and starts at another, so all windows share it, and none has to look for its samples.
type grid struct {
	back  int       // how many lines lie before the first tick
	next  []int32   // the first sample after the line
	tail  []float64 // the value of the last sample up to the line
	head  []float64 // the value of the first after it
	left  []int64   // how far the line is behind the last sample up to it, in milliseconds
	right []int64   // and before the first after it
	// bends are the lines at which something else comes than to be expected from the line before: left or right is
	// another, or more or fewer samples lie between. Windows that start and end between bends differ by values alone.
	bends []int32
}

// fits reports whether a window of a rate can be read off a grid, and how many steps it is long.
func (w *windowed) fits(step int64) (int, bool) {
	if !counts(w.function) && w.function != "delta" || w.span%step != 0 || w.span == 0 {
		return 0, false
	}
	return int(w.span / step), true
}

// reset draws the grid of a series over so many ticks, and steps back from the first; the memory is used again.
func (g *grid) reset(s *dense, c clock, offset int64, back, ticks int) {
	n := back + ticks
	g.back = back
	g.next, g.tail, g.head = sized(g.next, n), sized(g.tail, n), sized(g.head, n)
	g.left, g.right = sized(g.left, n), sized(g.right, n)
	g.bends = g.bends[:0]
	next, stride, at := 0, -1, c.at(-back)-offset
	left, right := int64(-1), int64(-1)
	for i := range n {
		before, was, will := next, left, right
		for next < len(s.ts) && s.ts[next] <= at {
			next++
		}
		g.next[i] = int32(next)
		if next > 0 {
			left = at - s.ts[next-1]
			g.tail[i], g.left[i] = s.vs[next-1], left
		}
		if next < len(s.ts) {
			right = s.ts[next] - at
			g.head[i], g.right[i] = s.vs[next], right
		}
		if left != was || right != will || next-before != stride {
			g.bends = append(g.bends, int32(i))
			stride = next - before
		}
		at += c.step
	}
}

// bend is the first bend after line i; one that is out of reach if there is none.
func (g *grid) bend(i int) int {
	at, _ := slices.BinarySearch(g.bends, int32(i+1))
	if at == len(g.bends) {
		return math.MaxInt
	}
	return int(g.bends[at])
}

func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// lane is what one window sees of a grid, tick by tick of a block.
type lane struct {
	first, next  []int32
	heads, tails []float64
	starts, ends []int64
}

func (g *grid) lane(steps, lo, hi int) lane {
	n := hi - lo
	from, to := lo+g.back-steps, lo+g.back
	return lane{
		first: g.next[from : from+n], next: g.next[to : to+n],
		heads: g.head[from : from+n], tails: g.tail[to : to+n],
		starts: g.right[from : from+n], ends: g.left[to : to+n],
	}
}

// retry is after how many ticks, where one was out of the common, it is asked again whether the next ones are.
const retry = 16

// onGrid computes the ticks from lo to hi of a window that is so many steps long, as block does. It counts those that
// have a value.
func (k *extrapolation) onGrid(s *dense, g *grid, steps, lo, hi int, out []float64) (found int) {
	w := g.lane(steps, lo, hi)
	n, from, to := hi-lo, lo+g.back-steps, lo+g.back
	for i := 0; i < n; {
		if even := k.even(s, &w, i, min(n, g.bend(from+i)-from, g.bend(to+i)-to)); even > i {
			done := k.straight(w.heads[i:even], w.tails[i:even], i, out)
			found, i = found+done, i+done
		}
		end := min(n, i+retry)
		found += k.single(s, &w, i, end, out)
		i = end
	}
	return found
}

// even is up to where, from tick i on and at most to the given one, the samples of all windows lie alike, without a
// reset; i if they don't.
func (k *extrapolation) even(s *dense, w *lane, i, end int) int {
	gaps := int(w.next[i]-w.first[i]) - 1
	if end-i < retry || gaps < 2 || !k.counter || int(w.next[end-1]-w.first[end-1])-1 != gaps || k.pendingReset(s, int(w.first[i])) < int(w.next[end-1]) {
		return i
	}
	if w.starts[i] != k.lie.toStart || w.ends[i] != k.lie.toEnd || gaps != k.lie.gaps {
		k.lie = k.lay(w.starts[i], w.ends[i], gaps)
	}
	return end
}

// straight computes ticks, from tick at on, whose windows have their samples where the layout says: up to the first
// whose counter may have been zero near. It returns how many.
func (k *extrapolation) straight(heads, tails []float64, at int, out []float64) int {
	out, tails = out[at:at+len(heads)], tails[:len(heads)]
	factor, zero := k.lie.factor, k.zero
	if k.perSecond {
		factor = k.lie.perSecond
	}
	done := len(heads)
	for i, head := range heads {
		change := tails[i] - head
		if !(head >= change) {
			done = i
			break
		}
		out[i] = change*factor + zero
	}
	if !k.perSecond || k.total == nil {
		return done
	}
	total := k.total[at : at+done]
	factor, zero = k.lie.factor, k.totalZero
	for i := range total {
		total[i] = (tails[i]-heads[i])*factor + zero
	}
	return done
}

// single computes the ticks from i to end one by one.
func (k *extrapolation) single(s *dense, w *lane, i, end int, out []float64) (found int) {
	if i >= end {
		return 0
	}
	lie, zero, totalZero, absent := k.lie, k.zero, k.totalZero, math.Float64frombits(absentBits)
	pending := k.pendingReset(s, int(w.first[i]))
	for ; i < end; i++ {
		first, next := int(w.first[i]), int(w.next[i])
		gaps := next - first - 1
		if gaps < 1 {
			k.put(out, i, absent, absent)
			continue
		}
		found++
		if w.starts[i] != lie.toStart || w.ends[i] != lie.toEnd || gaps != lie.gaps {
			lie = k.lay(w.starts[i], w.ends[i], gaps)
		}
		head := w.heads[i]
		change := w.tails[i] - head
		if pending < next && k.counter {
			pending = k.pendingReset(s, first)
			change = k.withResets(s, next, change)
		}
		factor, perSecond := lie.factor, lie.perSecond
		if !(lie.far && head >= change) && k.counter {
			factor, perSecond = k.counterFactor(&lie, head, change)
		}
		switch {
		case !k.perSecond:
			out[i] = change*factor + zero
		case k.total == nil:
			out[i] = change*perSecond + zero
		default:
			out[i], k.total[i] = change*perSecond+zero, change*factor+totalZero
		}
	}
	k.lie = lie
	return found
}
