package evaluator

import (
	"math"

	"github.com/prometheus/prometheus/util/kahansum"
)

// dense is one series as kernels read it: floats alone, oldest first, without stale markers unless the kernel is
// an instant selector's. resets lists, for counters, the samples below their predecessor.
type dense struct {
	ts     []int64
	vs     []float64
	resets []int32
}

// clock tells the query times of ticks, in milliseconds.
type clock struct{ start, step int64 }

func (c clock) at(tick int) int64 { return c.start + int64(tick)*c.step }

// kernel computes one function over one range for one series, block of ticks by block of ticks, in order.
// It writes one value for each tick from lo to hi, and says whether there was any.
type kernel interface {
	block(s *dense, c clock, lo, hi int, out []float64) bool
}

// kernels makes the kernel of each function, for a range and an offset in milliseconds.
var kernels = map[string]func(span, offset int64) kernel{
	"rate":              func(span, offset int64) kernel { return newExtrapolation(span, offset, true, true) },
	"increase":          func(span, offset int64) kernel { return newExtrapolation(span, offset, true, false) },
	"delta":             func(span, offset int64) kernel { return newExtrapolation(span, offset, false, false) },
	"irate":             overWindow(2, irate),
	"idelta":            overWindow(2, idelta),
	"count_over_time":   overWindow(1, func(_ []int64, vs []float64) float64 { return float64(len(vs)) }),
	"last_over_time":    overWindow(1, func(_ []int64, vs []float64) float64 { return vs[len(vs)-1] }),
	"present_over_time": overWindow(1, func([]int64, []float64) float64 { return 1 }),
	"sum_over_time":     overWindow(1, sumOf),
	"avg_over_time":     overWindow(1, averageOf),
	"max_over_time":     overWindow(1, maximumOf),
	"min_over_time":     overWindow(1, minimumOf),
	"changes":           overWindow(1, changesOf),
	"resets":            overWindow(1, resetsOf),
}

// keepsName reports whether a function leaves the metric's name on its results.
func keepsName(function string) bool { return function == "" || function == "last_over_time" }

// counts reports whether a function needs to know the counter resets.
func counts(function string) bool { return function == "rate" || function == "increase" }

// instant is the kernel of an instant selector: the last sample, if it is young enough. A stale marker has the
// bits of an absent value.
type instant struct {
	offset, lookback int64
	next             int
}

func (k *instant) block(s *dense, c clock, lo, hi int, out []float64) bool {
	found, absent := false, math.Float64frombits(absentBits)
	for tick := lo; tick < hi; tick++ {
		at := c.at(tick) - k.offset
		for k.next < len(s.ts) && s.ts[k.next] <= at {
			k.next++
		}
		v := absent
		if k.next > 0 && s.ts[k.next-1] > at-k.lookback {
			v = s.vs[k.next-1]
			found = found || math.Float64bits(v) != absentBits
		}
		out[tick-lo] = v
	}
	return found
}

// over is the kernel of a function of the samples in a window, which is open on the left.
type over struct {
	span, offset int64
	least        int // samples it needs
	first, next  int
	of           func(ts []int64, vs []float64) float64
}

func overWindow(least int, of func([]int64, []float64) float64) func(span, offset int64) kernel {
	return func(span, offset int64) kernel { return &over{span: span, offset: offset, least: least, of: of} }
}

func (k *over) block(s *dense, c clock, lo, hi int, out []float64) bool {
	found, absent := false, math.Float64frombits(absentBits)
	for tick := lo; tick < hi; tick++ {
		end := c.at(tick) - k.offset
		for k.next < len(s.ts) && s.ts[k.next] <= end {
			k.next++
		}
		for k.first < len(s.ts) && s.ts[k.first] <= end-k.span {
			k.first++
		}
		if k.next-k.first < k.least {
			out[tick-lo] = absent
			continue
		}
		out[tick-lo] = k.of(s.ts[k.first:k.next], s.vs[k.first:k.next])
		found = true
	}
	return found
}

func irate(ts []int64, vs []float64) float64 {
	n := len(vs)
	v := vs[n-1]
	if !(v < vs[n-2]) {
		v -= vs[n-2]
	}
	return v / (float64(ts[n-1]-ts[n-2]) / 1000)
}

func idelta(_ []int64, vs []float64) float64 { return vs[len(vs)-1] - vs[len(vs)-2] }

func sumOf(_ []int64, vs []float64) float64 {
	var sum, c float64
	for _, v := range vs {
		sum, c = kahansum.Inc(v, sum, c)
	}
	if math.IsInf(sum, 0) {
		return sum
	}
	return sum + c
}

// averageOf adds up and divides, or, once the sum overflows, moves a mean along.
func averageOf(_ []int64, vs []float64) float64 {
	sum, c, n := vs[0], 0.0, 1.0
	i := 1
	for ; i < len(vs); i++ {
		s, sc := kahansum.Inc(vs[i], sum, c)
		if math.IsInf(s, 0) {
			break
		}
		sum, c, n = s, sc, float64(i+1)
	}
	if i == len(vs) {
		return sum/n + c/n
	}
	mean := sum / n
	c /= n
	for ; i < len(vs); i++ {
		n = float64(i + 1)
		q := (n - 1) / n
		mean, c = kahansum.Inc(vs[i]/n, q*mean, q*c)
	}
	return mean + c
}

func maximumOf(_ []int64, vs []float64) float64 {
	best := vs[0]
	for _, v := range vs {
		if v > best || math.IsNaN(best) {
			best = v
		}
	}
	return best
}

func minimumOf(_ []int64, vs []float64) float64 {
	best := vs[0]
	for _, v := range vs {
		if v < best || math.IsNaN(best) {
			best = v
		}
	}
	return best
}

func changesOf(_ []int64, vs []float64) float64 {
	n := 0
	for i := 1; i < len(vs); i++ {
		if vs[i] != vs[i-1] && !(math.IsNaN(vs[i]) && math.IsNaN(vs[i-1])) {
			n++
		}
	}
	return float64(n)
}

func resetsOf(_ []int64, vs []float64) float64 {
	n := 0
	for i := 1; i < len(vs); i++ {
		if vs[i] < vs[i-1] {
			n++
		}
	}
	return float64(n)
}
