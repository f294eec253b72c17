package evaluator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// reader decodes series of a history, one after another, into memory that it uses again.
type reader struct {
	mint, maxt int64
	ts         []int64
	vs         []float64
	histograms bool // the series has native histograms, which are not read
	samples    int64

	chunks   chunks.Iterator
	floats   chunkenc.Iterator
	plain    chunkenc.Iterator
	warnings func(annotations.Annotations)
}

var errOverlap = errors.New("chunks overlap")

// each decodes every series that the matchers select, sorted by labels, and hands it to take.
func (r *reader) each(ctx context.Context, history storage.Queryable, matchers []*labels.Matcher, take func(labels.Labels) error) error {
	var err error
	if chunked, ok := history.(storage.ChunkQueryable); ok {
		err = r.eachChunked(ctx, chunked, matchers, take)
	} else {
		err = r.eachPlain(ctx, history, matchers, take)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("read {%s}: %w", matcherKey(matchers), err)
	}
	return err
}

func (r *reader) eachChunked(ctx context.Context, history storage.ChunkQueryable, matchers []*labels.Matcher, take func(labels.Labels) error) (err error) {
	q, err := history.ChunkQuerier(r.mint, r.maxt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	set := q.Select(ctx, true, &storage.SelectHints{Start: r.mint, End: r.maxt}, matchers...)
	for set.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		series := set.At()
		if err := r.loadChunks(series); err != nil {
			return fmt.Errorf("%s: %w", series.Labels(), err)
		}
		if err := take(series.Labels()); err != nil {
			return err
		}
	}
	r.warnings(set.Warnings())
	return set.Err()
}

// loadChunks decodes a series from its chunks, which a querier yields without overlap, oldest first.
func (r *reader) loadChunks(series storage.ChunkSeries) error {
	r.reset()
	r.chunks = series.Iterator(r.chunks)
	for r.chunks.Next() {
		chunk := r.chunks.At().Chunk
		switch chunk.Encoding() {
		case chunkenc.EncXOR, chunkenc.EncXOR2:
		default:
			r.histograms = true
			return nil
		}
		if err := r.loadChunk(chunk); err != nil {
			return err
		}
	}
	return r.chunks.Err()
}

func (r *reader) loadChunk(chunk chunkenc.Chunk) error {
	plain, ok := chunk.(*chunkenc.XORChunk)
	if !ok { // another encoding, or one that a TSDB's head watches over
		n := chunk.NumSamples()
		r.ts, r.vs = slices.Grow(r.ts, n), slices.Grow(r.vs, n)
		r.floats = chunk.Iterator(r.floats)
		return r.drain(r.floats)
	}
	before := len(r.ts)
	ts, vs, err := xorSamples(plain.Bytes(), r.ts, r.vs)
	if err != nil {
		return err
	}
	from, to := before, len(ts)
	for from < to && ts[from] < r.mint {
		from++
	}
	for to > from && ts[to-1] > r.maxt {
		to--
	}
	if before > 0 && from < to && ts[from] <= ts[before-1] {
		return errOverlap
	}
	kept := before + copy(ts[before:], ts[from:to])
	copy(vs[before:], vs[from:to])
	r.ts, r.vs = ts[:kept], vs[:kept]
	r.samples += int64(to - from)
	return nil
}

// begin sets out to read between two times.
func (r *reader) begin(mint, maxt int64, warn func(annotations.Annotations)) {
	r.mint, r.maxt, r.warnings, r.samples = mint, maxt, warn, 0
	r.reset()
}

func (r *reader) reset() {
	r.ts, r.vs, r.histograms = r.ts[:0], r.vs[:0], false
}

// drain takes the floats of it that lie in time, which must be younger than all before.
func (r *reader) drain(it chunkenc.Iterator) error {
	last := int64(math.MinInt64)
	if n := len(r.ts); n > 0 {
		last = r.ts[n-1]
	}
	before := len(r.ts)
	ts, vs := r.ts, r.vs
	defer func() {
		r.ts, r.vs = ts, vs
		r.samples += int64(len(ts) - before)
	}()
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		if kind != chunkenc.ValFloat {
			r.histograms = true
			return nil
		}
		t, v := it.At()
		if t < r.mint {
			continue
		}
		if t > r.maxt {
			break
		}
		if t <= last {
			return errOverlap
		}
		last = t
		ts = append(ts, t)
		vs = append(vs, v)
	}
	return it.Err()
}

func (r *reader) eachPlain(ctx context.Context, history storage.Queryable, matchers []*labels.Matcher, take func(labels.Labels) error) (err error) {
	q, err := history.Querier(r.mint, r.maxt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	set := q.Select(ctx, true, &storage.SelectHints{Start: r.mint, End: r.maxt}, matchers...)
	for set.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		series := set.At()
		r.reset()
		r.plain = series.Iterator(r.plain)
		if err := r.drain(r.plain); err != nil {
			return fmt.Errorf("%s: %w", series.Labels(), err)
		}
		if err := take(series.Labels()); err != nil {
			return err
		}
	}
	r.warnings(set.Warnings())
	return set.Err()
}

// withStale is the series as an instant selector reads it.
func (r *reader) withStale() *dense { return &dense{ts: r.ts, vs: r.vs} }

// withoutStale is the series as range functions read it: the reader's own arrays are compacted.
func (r *reader) withoutStale() *dense { return compacted(r.ts, r.vs) }

// compacted leaves stale markers out, in place, and lists counter resets.
func compacted(ts []int64, vs []float64) *dense {
	n := 0
	d := &dense{}
	for i, v := range vs {
		if math.Float64bits(v) == absentBits {
			continue
		}
		if n > 0 && v < vs[n-1] {
			d.resets = append(d.resets, int32(n))
		}
		if n != i {
			ts[n], vs[n] = ts[i], v
		}
		n++
	}
	d.ts, d.vs = ts[:n], vs[:n]
	return d
}
