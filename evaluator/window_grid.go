package evaluator

import "math"

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
	next, at := 0, c.at(-back)-offset
	for i := range n {
		for next < len(s.ts) && s.ts[next] <= at {
			next++
		}
		g.next[i] = int32(next)
		if next > 0 {
			g.tail[i], g.left[i] = s.vs[next-1], at-s.ts[next-1]
		}
		if next < len(s.ts) {
			g.head[i], g.right[i] = s.vs[next], s.ts[next]-at
		}
		at += c.step
	}
}

func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// onGrid computes the ticks from lo to hi of a window that is so many steps long, as block does. It counts those that
// have a value.
func (k *extrapolation) onGrid(s *dense, g *grid, steps, lo, hi int, out []float64) (found int) {
	n := hi - lo
	from, to := lo+g.back-steps, lo+g.back
	first, next := g.next[from:from+n], g.next[to:to+n]
	heads, tails := g.head[from:from+n], g.tail[to:to+n]
	starts, ends := g.right[from:from+n], g.left[to:to+n]
	lie, zero, totalZero, absent := k.lie, k.zero, k.totalZero, math.Float64frombits(absentBits)
	pending := k.pendingReset(s, int(first[0]))
	for i := range out[:n] {
		gaps := int(next[i]-first[i]) - 1
		if gaps < 1 {
			k.put(out, i, absent, absent)
			continue
		}
		found++
		if starts[i] != lie.toStart || ends[i] != lie.toEnd || gaps != lie.gaps {
			lie = k.lay(starts[i], ends[i], gaps)
		}
		head := heads[i]
		change := tails[i] - head
		if pending < int(next[i]) && k.counter {
			pending = k.pendingReset(s, int(first[i]))
			change = k.withResets(s, int(next[i]), change)
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
