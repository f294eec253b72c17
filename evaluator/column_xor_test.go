package evaluator

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// xorChunk encodes samples by upstream.
func xorChunk(t testing.TB, ts []int64, vs []float64) *chunkenc.XORChunk {
	t.Helper()
	c := chunkenc.NewXORChunk()
	app, err := c.Appender()
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range ts {
		app.Append(0, at, vs[i])
	}
	return c
}

func TestXORSamplesAreUpstreams(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 2000 {
		n := 1 + r.IntN(130)
		ts, vs := make([]int64, n), make([]float64, n)
		at, v := r.Int64N(1<<42)-1<<41, 0.0
		for i := range ts {
			at += 1 + r.Int64N([]int64{1, 1, 30_000, 60_000, 1 << 20, 1 << 40}[r.IntN(1+round%6)])
			switch r.IntN(1 + round%5) {
			case 0, 1:
				v += float64(r.IntN(100))
			case 2:
				v = r.NormFloat64() * math.Pow(10, float64(r.IntN(600)-300))
			case 3:
				v = math.Float64frombits(r.Uint64())
			case 4:
				v = math.Float64frombits(absentBits)
			}
			ts[i], vs[i] = at, v
		}
		chunk := xorChunk(t, ts, vs)
		gotT, gotV, err := xorSamples(chunk.Bytes(), nil, nil)
		if err != nil || len(gotT) != n {
			t.Fatalf("round %d: %d of %d samples: %v", round, len(gotT), n, err)
		}
		it := chunk.Iterator(nil)
		for i := range ts {
			it.Next()
			wantT, wantV := it.At()
			if gotT[i] != wantT || math.Float64bits(gotV[i]) != math.Float64bits(wantV) {
				t.Fatalf("round %d, sample %d: %d %x, want %d %x", round, i, gotT[i], math.Float64bits(gotV[i]), wantT, math.Float64bits(wantV))
			}
		}
	}
}

func FuzzXORSamples(f *testing.F) {
	f.Add(xorChunk(f, []int64{1, 2, 40}, []float64{1, 1, 7}).Bytes())
	f.Add([]byte{0, 9, 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		ts, vs, err := xorSamples(data, nil, nil)
		if err != nil || len(data) < 2 {
			return
		}
		c := chunkenc.NewXORChunk()
		c.Reset(data)
		it := c.Iterator(nil)
		for i := range ts {
			if it.Next() == chunkenc.ValNone {
				t.Fatalf("upstream ends after %d of %d samples: %v", i, len(ts), it.Err())
			}
			if at, v := it.At(); at != ts[i] || math.Float64bits(v) != math.Float64bits(vs[i]) {
				t.Fatalf("sample %d: %d %v, upstream %d %v", i, ts[i], vs[i], at, v)
			}
		}
	})
}

func BenchmarkXORSamples(b *testing.B) {
	ts, vs := make([]int64, 120), make([]float64, 120)
	for i := range ts {
		ts[i], vs[i] = int64(i)*30_000, float64(i*i)
	}
	data := xorChunk(b, ts, vs)
	b.Run("columns", func(b *testing.B) {
		for b.Loop() {
			ts, vs, _ = xorSamples(data.Bytes(), ts[:0], vs[:0])
		}
	})
	b.Run("iterator", func(b *testing.B) {
		var it chunkenc.Iterator
		for b.Loop() {
			it = data.Iterator(it)
			for i := 0; it.Next() != chunkenc.ValNone; i++ {
				ts[i], vs[i] = it.At()
			}
		}
	})
}
