package backtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Samples is one series held in memory, its times ascending. Where Histograms is not nil it has one for each time, and
// Values is empty.
type Samples struct {
	Labels     labels.Labels
	Times      []int64
	Values     []float64
	Histograms []*histogram.FloatHistogram
}

// Memory is a small history made for one replay, sorted by labels. It implements History.
type Memory []Samples

// read copies what the matchers select between two times.
func read(ctx context.Context, h storage.Queryable, mint, maxt int64, matchers []*labels.Matcher) (m Memory, err error) {
	q, err := h.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	set := q.Select(ctx, true, &storage.SelectHints{Start: mint, End: maxt}, matchers...)
	var it chunkenc.Iterator
	for set.Next() {
		it = set.At().Iterator(it)
		one, err := samplesOf(set.At().Labels(), it)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", set.At().Labels(), err)
		}
		m = append(m, one)
	}
	return m, set.Err()
}

var errMixed = errors.New("the series holds both numbers and native histograms")

func samplesOf(l labels.Labels, it chunkenc.Iterator) (Samples, error) {
	one := Samples{Labels: l}
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		if kind == chunkenc.ValFloat {
			t, v := it.At()
			one.Times, one.Values = append(one.Times, t), append(one.Values, v)
		} else {
			t, h := it.AtFloatHistogram(nil)
			one.Times, one.Histograms = append(one.Times, t), append(one.Histograms, h)
		}
		if one.Values != nil && one.Histograms != nil {
			return one, errMixed
		}
	}
	return one, it.Err()
}

// NewMemory sorts series into a history.
func NewMemory(all []Samples) Memory {
	m := Memory(slices.Clone(all))
	m.sort()
	return m
}

func (m Memory) sort() {
	slices.SortFunc(m, func(a, b Samples) int { return labels.Compare(a.Labels, b.Labels) })
}

// Extent implements History.
func (m Memory) Extent() (mint, maxt int64) {
	mint, maxt = math.MaxInt64, math.MinInt64
	for _, one := range m {
		if n := len(one.Times); n > 0 {
			mint, maxt = min(mint, one.Times[0]), max(maxt, one.Times[n-1])
		}
	}
	return mint, maxt
}

// Querier implements storage.Queryable.
func (m Memory) Querier(mint, maxt int64) (storage.Querier, error) {
	return &memoryQuerier{m, mint, maxt}, nil
}

type memoryQuerier struct {
	Memory
	mint, maxt int64
}

// Select implements storage.Querier.
func (q *memoryQuerier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &memorySet{at: -1}
	for _, one := range q.Memory {
		if !matches(one.Labels, matchers) {
			continue
		}
		from := sort.Search(len(one.Times), func(k int) bool { return one.Times[k] >= q.mint })
		to := sort.Search(len(one.Times), func(k int) bool { return one.Times[k] > q.maxt })
		if from < to {
			set.all = append(set.all, list{one, from, to - from})
		}
	}
	return set
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(l.Get(m.Name)) })
}

// LabelValues implements storage.LabelQuerier.
func (q *memoryQuerier) LabelValues(_ context.Context, name string, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	seen := map[string]bool{}
	for _, one := range q.Memory {
		if v := one.Labels.Get(name); v != "" && matches(one.Labels, matchers) {
			seen[v] = true
		}
	}
	return sortedKeys(seen), nil, nil
}

// LabelNames implements storage.LabelQuerier; it finds none.
func (*memoryQuerier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// Close implements storage.LabelQuerier.
func (*memoryQuerier) Close() error { return nil }

type memorySet struct {
	all []list
	at  int
}

// Next implements storage.SeriesSet.
func (s *memorySet) Next() bool { s.at++; return s.at < len(s.all) }

// At implements storage.SeriesSet.
func (s *memorySet) At() storage.Series { return s.all[s.at] }

// Err implements storage.SeriesSet.
func (*memorySet) Err() error { return nil }

// Warnings implements storage.SeriesSet.
func (*memorySet) Warnings() annotations.Annotations { return nil }

// list is a stretch of a series. It implements storage.Series and storage.Samples.
type list struct {
	samples Samples
	from, n int
}

// Labels implements storage.Series.
func (l list) Labels() labels.Labels { return l.samples.Labels }

// Iterator implements storage.Series.
func (l list) Iterator(chunkenc.Iterator) chunkenc.Iterator { return storage.NewListSeriesIterator(l) }

// Len implements storage.Samples.
func (l list) Len() int { return l.n }

// Get implements storage.Samples.
func (l list) Get(k int) chunks.Sample {
	k += l.from
	if l.samples.Histograms != nil {
		return sample{t: l.samples.Times[k], h: l.samples.Histograms[k]}
	}
	return sample{t: l.samples.Times[k], v: l.samples.Values[k]}
}

// sample is one number, or one histogram. It implements chunks.Sample.
type sample struct {
	t int64
	v float64
	h *histogram.FloatHistogram
}

// ST implements chunks.Sample; no start is known.
func (sample) ST() int64 { return 0 }

// T implements chunks.Sample.
func (s sample) T() int64 { return s.t }

// F implements chunks.Sample.
func (s sample) F() float64 { return s.v }

// H implements chunks.Sample: there are only float histograms.
func (sample) H() *histogram.Histogram { return nil }

// FH implements chunks.Sample. It is a copy: the engine writes later samples over what it was given.
func (s sample) FH() *histogram.FloatHistogram {
	if s.h == nil {
		return nil
	}
	return s.h.Copy()
}

// Type implements chunks.Sample.
func (s sample) Type() chunkenc.ValueType {
	if s.h != nil {
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValFloat
}

// Copy implements chunks.Sample.
func (s sample) Copy() chunks.Sample {
	if s.h != nil {
		s.h = s.h.Copy()
	}
	return s
}
