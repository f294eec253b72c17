package evaluator

import (
	"math"
	"time"
)

// extrapolation is the kernel of rate, increase and delta: what the last sample of the window has over the first,
// with the resets between put back, stretched to the window's edges. It makes upstream's additions and divisions
// in upstream's order, so that not a bit differs. What depends only on where samples lie is kept from tick to
// tick, since scrapes are mostly regular.
type extrapolation struct {
	span, offset int64
	seconds      float64
	counter      bool
	perSecond    bool
	total        []float64 // where the increase goes beside the rate, if it is wanted too
	// What is added to the values of windows on a grid, and to their totals: 0 makes 0 of -0, -0 leaves it.
	zero, totalZero float64

	first, next, reset int
	lie                layout
}

// layout is where the samples of a window lie, and what follows from that alone.
type layout struct {
	toStart, toEnd int64 // milliseconds from the window's edges
	gaps           int   // samples less one

	start, end, between float64 // seconds: stretch to the left and to the right, and from first to last sample
	factor, perSecond   float64 // unless the zero point of a counter comes first
	far                 bool    // a counter that stood as high as it has risen can't have been zero near
}

func newExtrapolation(span, offset int64, counter, perSecond bool) *extrapolation {
	return &extrapolation{
		span: span, offset: offset, counter: counter, perSecond: perSecond,
		seconds: (time.Duration(span) * time.Millisecond).Seconds(),
	}
}

func (k *extrapolation) block(s *dense, c clock, lo, hi int, out []float64) bool {
	found := false
	ts, vs := s.ts, s.vs
	first, next, lie := k.first, k.next, k.lie
	end := c.at(lo) - k.offset
	for i := range out[:hi-lo] {
		for next < len(ts) && ts[next] <= end {
			next++
		}
		start := end - k.span
		for first < len(ts) && ts[first] <= start {
			first++
		}
		gaps := next - 1 - first
		if gaps < 1 {
			k.put(out, i, math.Float64frombits(absentBits), math.Float64frombits(absentBits))
			end += c.step
			continue
		}
		found = true
		if toStart, toEnd := ts[first]-start, end-ts[next-1]; toStart != lie.toStart || toEnd != lie.toEnd || gaps != lie.gaps {
			lie = k.lay(toStart, toEnd, gaps)
		}
		end += c.step
		k.pendingReset(s, first)
		k.value(s, &lie, out, i, vs[first], vs[next-1], next)
	}
	k.first, k.next, k.lie = first, next, lie
	return found
}

// value computes the tick at i from the first and the last sample of its window.
func (k *extrapolation) value(s *dense, lie *layout, out []float64, i int, head, tail float64, next int) {
	change := tail - head
	if k.counter {
		change = k.withResets(s, next, change)
	}
	factor, perSecond := lie.factor, lie.perSecond
	if k.counter {
		factor, perSecond = k.counterFactor(lie, head, change)
	}
	if k.perSecond {
		k.put(out, i, change*perSecond, change*factor)
	} else {
		k.put(out, i, change*factor, 0)
	}
}

func (k *extrapolation) put(out []float64, i int, v, total float64) {
	out[i] = v
	if k.total != nil {
		k.total[i] = total
	}
}

// pendingReset is the first reset after the window's first sample.
func (k *extrapolation) pendingReset(s *dense, first int) int {
	for k.reset < len(s.resets) && int(s.resets[k.reset]) <= first {
		k.reset++
	}
	if k.reset == len(s.resets) {
		return math.MaxInt
	}
	return int(s.resets[k.reset])
}

// withResets adds the values that the counter had before each reset in the window, oldest first.
func (k *extrapolation) withResets(s *dense, next int, change float64) float64 {
	for _, at := range s.resets[k.reset:] {
		if int(at) >= next {
			break
		}
		change += s.vs[at-1]
	}
	return change
}

// counterFactor is the layout's factor, unless the counter would have been zero nearer than the window's start.
func (k *extrapolation) counterFactor(lie *layout, head, change float64) (factor, perSecond float64) {
	if change > 0 && head >= 0 {
		if zero := lie.between * (head / change); zero < lie.start {
			return k.stretch(zero, lie.end, lie.between)
		}
	}
	return lie.factor, lie.perSecond
}

func (k *extrapolation) lay(toStart, toEnd int64, gaps int) layout {
	l := layout{toStart: toStart, toEnd: toEnd, gaps: gaps, far: gaps > 1}
	l.start, l.end, l.between = float64(toStart)/1000, float64(toEnd)/1000, float64(k.span-toStart-toEnd)/1000
	average := l.between / float64(gaps)
	threshold := average * 1.1
	if l.start >= threshold {
		l.start = average / 2
	}
	if l.end >= threshold {
		l.end = average / 2
	}
	l.factor, l.perSecond = k.stretch(l.start, l.end, l.between)
	return l
}

func (k *extrapolation) stretch(start, end, between float64) (factor, perSecond float64) {
	factor = (between + start + end) / between
	return factor, factor / k.seconds
}
