package backtest

import (
	"fmt"
	"math"
	"strings"

	"github.com/slowburn/slowburn/slo"
)

// notation writes values as promtool reads them: a+bxn is a and n steps of b from there, each added to the last, and _ is
// no sample.
func notation(values []float64) string {
	var words []string
	for k := 0; k < len(values); {
		n := same(values[k:])
		if math.IsNaN(values[k]) {
			words = append(words, fmt.Sprintf("_x%d", n))
			k += n
			continue
		}
		step := 0.0
		if k+1 < len(values) && values[k+1] > values[k] {
			step = values[k+1] - values[k]
		}
		n = 1
		for next := values[k] + step; k+n < len(values) && values[k+n] == next; next += step {
			n++
		}
		if n == 1 {
			step = 0
		}
		words = append(words, fmt.Sprintf("%s+%sx%d", slo.FormatNumber(values[k]), slo.FormatNumber(step), n-1))
		k += n
	}
	return strings.Join(words, " ")
}

// same is how many values at the beginning are missing; at least one.
func same(values []float64) int {
	n := 1
	for n < len(values) && math.IsNaN(values[n]) {
		n++
	}
	return n
}

// evened is the counter with its increase spread evenly over stretches of so many values. A stretch ends early where
// the counter is reset or has no value, and steps are rounded down to what is short to write, so that it never falls.
func evened(values []float64, stretch int) []float64 {
	even := make([]float64, len(values))
	copy(even, values)
	for k := 0; k < len(values); {
		n := 1
		for n < stretch && k+n < len(values) && values[k+n] >= values[k+n-1] {
			n++
		}
		if next := k + n; next < len(values) && values[next] >= values[next-1] {
			step := brief((values[next] - values[k]) / float64(n))
			for i := k + 1; i < next; i++ {
				even[i] = even[i-1] + step
			}
		}
		k += n
	}
	return even
}

// brief rounds a step down: to whole events where there are many.
func brief(step float64) float64 {
	if step >= 100 {
		return math.Floor(step)
	}
	return math.Floor(step*100) / 100
}
