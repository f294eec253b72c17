package main

import (
	"context"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Querier implements storage.Queryable.
func (w *world) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{w, mint, maxt}, nil
}

type querier struct {
	world      *world
	mint, maxt int64
}

// Select implements storage.Querier.
func (q *querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{at: -1}
	for _, c := range q.world.series {
		if slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(c.labels.Get(m.Name)) }) {
			continue
		}
		from := sort.Search(len(c.times), func(k int) bool { return c.times[k] >= q.mint })
		to := sort.Search(len(c.times), func(k int) bool { return c.times[k] > q.maxt })
		set.series = append(set.series, &counter{c.labels, c.times[from:to], c.values[from:to]})
	}
	slices.SortFunc(set.series, func(a, b *counter) int { return labels.Compare(a.labels, b.labels) })
	return set
}

// LabelValues implements storage.LabelQuerier; it finds none.
func (*querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// LabelNames implements storage.LabelQuerier; it finds none.
func (*querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// Close implements storage.LabelQuerier.
func (*querier) Close() error { return nil }

type seriesSet struct {
	series []*counter
	at     int
}

// Next implements storage.SeriesSet.
func (s *seriesSet) Next() bool { s.at++; return s.at < len(s.series) }

// At implements storage.SeriesSet.
func (s *seriesSet) At() storage.Series { return s.series[s.at] }

// Err implements storage.SeriesSet.
func (*seriesSet) Err() error { return nil }

// Warnings implements storage.SeriesSet.
func (*seriesSet) Warnings() annotations.Annotations { return nil }

// Labels implements storage.Series.
func (c *counter) Labels() labels.Labels { return c.labels }

// Iterator implements storage.Series.
func (c *counter) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return storage.NewListSeriesIterator(c)
}

// Len implements storage.Samples.
func (c *counter) Len() int { return len(c.times) }

// Get implements storage.Samples.
func (c *counter) Get(k int) chunks.Sample { return sample{c.times[k], c.values[k]} }

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
