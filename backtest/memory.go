package backtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// list is one series held in memory.
type list struct {
	labels labels.Labels
	times  []int64
	values []float64
}

// memory is a small history made for one replay, sorted by labels. It implements storage.Queryable.
type memory []list

// read copies what the matchers select between two times. Native histograms are refused: they can't be cut or changed here.
func read(ctx context.Context, h storage.Queryable, mint, maxt int64, matchers []*labels.Matcher) (m memory, err error) {
	q, err := h.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	set := q.Select(ctx, true, &storage.SelectHints{Start: mint, End: maxt}, matchers...)
	var it chunkenc.Iterator
	for set.Next() {
		one := list{labels: set.At().Labels()}
		it = set.At().Iterator(it)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if kind != chunkenc.ValFloat {
				return nil, fmt.Errorf("%s is a native histogram", one.labels)
			}
			t, v := it.At()
			one.times, one.values = append(one.times, t), append(one.values, v)
		}
		if err := it.Err(); err != nil {
			return nil, fmt.Errorf("read %s: %w", one.labels, err)
		}
		m = append(m, one)
	}
	return m, set.Err()
}

func (m memory) sort() {
	slices.SortFunc(m, func(a, b list) int { return labels.Compare(a.labels, b.labels) })
}

// Querier implements storage.Queryable.
func (m memory) Querier(mint, maxt int64) (storage.Querier, error) {
	return &memoryQuerier{m, mint, maxt}, nil
}

type memoryQuerier struct {
	memory
	mint, maxt int64
}

// Select implements storage.Querier.
func (q *memoryQuerier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &memorySet{at: -1}
	for _, one := range q.memory {
		if !matches(one.labels, matchers) {
			continue
		}
		from := sort.Search(len(one.times), func(k int) bool { return one.times[k] >= q.mint })
		to := sort.Search(len(one.times), func(k int) bool { return one.times[k] > q.maxt })
		if from < to {
			set.lists = append(set.lists, list{one.labels, one.times[from:to], one.values[from:to]})
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
	for _, one := range q.memory {
		if v := one.labels.Get(name); v != "" && matches(one.labels, matchers) {
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
	lists []list
	at    int
}

// Next implements storage.SeriesSet.
func (s *memorySet) Next() bool { s.at++; return s.at < len(s.lists) }

// At implements storage.SeriesSet.
func (s *memorySet) At() storage.Series { return s.lists[s.at] }

// Err implements storage.SeriesSet.
func (*memorySet) Err() error { return nil }

// Warnings implements storage.SeriesSet.
func (*memorySet) Warnings() annotations.Annotations { return nil }

// Labels implements storage.Series.
func (l list) Labels() labels.Labels { return l.labels }

// Iterator implements storage.Series.
func (l list) Iterator(chunkenc.Iterator) chunkenc.Iterator { return storage.NewListSeriesIterator(l) }

// Len implements storage.Samples.
func (l list) Len() int { return len(l.times) }

// Get implements storage.Samples.
func (l list) Get(k int) chunks.Sample { return sample{l.times[k], l.values[k]} }

// sample is one number. It implements chunks.Sample.
type sample struct {
	t int64
	v float64
}

// ST implements chunks.Sample; no start is known.
func (sample) ST() int64 { return 0 }

// T implements chunks.Sample.
func (s sample) T() int64 { return s.t }

// F implements chunks.Sample.
func (s sample) F() float64 { return s.v }

// H implements chunks.Sample: there is none.
func (sample) H() *histogram.Histogram { return nil }

// FH implements chunks.Sample: there is none.
func (sample) FH() *histogram.FloatHistogram { return nil }

// Type implements chunks.Sample.
func (sample) Type() chunkenc.ValueType { return chunkenc.ValFloat }

// Copy implements chunks.Sample.
func (s sample) Copy() chunks.Sample { return s }
