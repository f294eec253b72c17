package evaluator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// Windows that are read off a grid have the same bits as those that look for their samples themselves.
func TestGridYieldsWhatWindowsYield(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 11))
		s, c := counterSeries(r), clock{start: worldStart + r.Int64N(60_000), step: 60_000}
		for _, function := range []string{"rate", "increase", "delta"} {
			for _, steps := range []int{1, 3, 30, 300} {
				t.Run(fmt.Sprintf("%d/%s/%d", seed, function, steps), func(t *testing.T) {
					compareGrid(t, s, c, function, steps)
				})
			}
		}
	}
}

// counterSeries has a sample every so many seconds, nearly always, and is a day long.
func counterSeries(r *rand.Rand) *dense {
	step := []int64{15_000, 20_000, 30_000, 60_000, 45_000}[r.IntN(5)]
	quiet := r.IntN(2) == 0
	trouble := []int{1 << 30, 1000, 100}[r.IntN(3)]
	var ts []int64
	var vs []float64
	v := []float64{0, 7, 1e6}[r.IntN(3)]
	for at := worldStart - step*int64(r.IntN(5000)); at < worldStart+86_400_000; at += step {
		switch {
		case r.IntN(trouble) != 0:
		case r.IntN(2) == 0:
			v = 0
		default:
			at += r.Int64N(step * 20)
		}
		if !quiet || r.IntN(100) == 0 {
			v += float64(r.IntN(50)) / 3
		}
		ts, vs = append(ts, at), append(vs, v)
	}
	return compacted(ts, vs)
}

func compareGrid(t *testing.T, s *dense, c clock, function string, steps int) {
	t.Helper()
	const ticks, back, offset = 1300, 310, 7000
	var g grid
	g.reset(s, c, offset, back, ticks)
	span := int64(steps) * c.step
	kernel := func(total []float64) *extrapolation {
		k := kernels[function](span, offset).(*extrapolation)
		k.zero, k.totalZero, k.total = math.Copysign(0, -1), math.Copysign(0, -1), total
		return k
	}
	gotTotal, wantTotal := make([]float64, blockTicks), make([]float64, blockTicks)
	onGrid, plain := kernel(gotTotal), kernel(wantTotal)
	got, want := make([]float64, blockTicks), make([]float64, blockTicks)
	for lo := 0; lo < ticks; lo += blockTicks {
		hi := min(lo+blockTicks, ticks)
		n := onGrid.onGrid(s, &g, steps, lo, hi, got)
		if found := plain.block(s, c, lo, hi, want); found != (n > 0) {
			t.Fatalf("found %v, on the grid %d", found, n)
		}
		sameBits(t, lo, got[:hi-lo], want[:hi-lo])
		if function == "rate" {
			sameBits(t, lo, gotTotal[:hi-lo], wantTotal[:hi-lo])
		}
	}
}

func sameBits(t *testing.T, lo int, got, want []float64) {
	t.Helper()
	for i := range want {
		if math.Float64bits(got[i]) != math.Float64bits(want[i]) {
			t.Fatalf("tick %d: %v on the grid, %v without", lo+i, got[i], want[i])
		}
	}
}
