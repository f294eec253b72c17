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

	first, next, reset int
	lie                layout
}

// layout is where the samples of a window lie, and what follows from that alone.
type layout struct {
	toStart, toEnd, sampled int64 // milliseconds
	gaps                    int   // samples less one

	start, end, between float64 // seconds: stretch to the left and to the right, and from first to last sample
	factor              float64 // unless the zero point of a counter comes first
}

func newExtrapolation(span, offset int64, counter, perSecond bool) *extrapolation {
	return &extrapolation{
		span: span, offset: offset, counter: counter, perSecond: perSecond,
		seconds: (time.Duration(span) * time.Millisecond).Seconds(),
	}
}

func (k *extrapolation) block(s *dense, c clock, lo, hi int, out []float64) bool {
	absent, found := math.Float64frombits(absentBits), false
	ts, vs := s.ts, s.vs
	first, next := k.first, k.next
	end := c.at(lo) - k.offset
	for i := range out[:hi-lo] {
		for next < len(ts) && ts[next] <= end {
			next++
		}
		start := end - k.span
		for first < len(ts) && ts[first] <= start {
			first++
		}
		if next-first < 2 {
			out[i] = absent
			end += c.step
			continue
		}
		found = true
		head, tail := ts[first], ts[next-1]
		if k.lie.toStart != head-start || k.lie.toEnd != end-tail || k.lie.sampled != tail-head || k.lie.gaps != next-1-first {
			k.lie = k.lay(head-start, end-tail, tail-head, next-1-first)
		}
		change := vs[next-1] - vs[first]
		if k.counter {
			if len(s.resets) > 0 {
				change = k.withResets(s, first, next, change)
			}
			out[i] = change * k.counterFactor(vs[first], change)
		} else {
			out[i] = change * k.lie.factor
		}
		end += c.step
	}
	k.first, k.next = first, next
	return found
}

// withResets adds the values that the counter had before each reset in the window, oldest first.
func (k *extrapolation) withResets(s *dense, first, next int, change float64) float64 {
	for k.reset < len(s.resets) && int(s.resets[k.reset]) <= first {
		k.reset++
	}
	for _, at := range s.resets[k.reset:] {
		if int(at) >= next {
			break
		}
		change += s.vs[at-1]
	}
	return change
}

// counterFactor is the layout's factor, unless the counter would have been zero nearer than the window's start.
// A counter that stood as high as it has risen can't have been: that saves a division nearly always.
func (k *extrapolation) counterFactor(head, change float64) float64 {
	if !(change > 0 && head >= 0) || head >= change && k.lie.gaps > 1 {
		return k.lie.factor
	}
	zero := k.lie.between * (head / change)
	if !(zero < k.lie.start) {
		return k.lie.factor
	}
	return k.stretch(zero, k.lie.end, k.lie.between)
}

func (k *extrapolation) lay(toStart, toEnd, sampled int64, gaps int) layout {
	l := layout{toStart: toStart, toEnd: toEnd, sampled: sampled, gaps: gaps}
	l.start, l.end, l.between = float64(toStart)/1000, float64(toEnd)/1000, float64(sampled)/1000
	average := l.between / float64(gaps)
	threshold := average * 1.1
	if l.start >= threshold {
		l.start = average / 2
	}
	if l.end >= threshold {
		l.end = average / 2
	}
	l.factor = k.stretch(l.start, l.end, l.between)
	return l
}

func (k *extrapolation) stretch(start, end, between float64) float64 {
	factor := (between + start + end) / between
	if k.perSecond {
		factor /= k.seconds
	}
	return factor
}
