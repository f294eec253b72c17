package evaluator

import (
	"context"
	"math"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// memory holds what replayed rules record. It refuses samples as the head of a TSDB does. It is for one goroutine.
type memory struct {
	byKey  map[string]*samples
	byName map[string][]*samples // sorted by labels
}

// samples is one series, oldest sample first, stale markers among them. Where hs is not nil, a sample with a
// histogram there is one.
type samples struct {
	labels labels.Labels
	ts     []int64
	vs     []float64
	hs     []*histogram.FloatHistogram
}

func newMemory() *memory {
	return &memory{byKey: map[string]*samples{}, byName: map[string][]*samples{}}
}

// series finds the series with these labels, or makes it.
func (m *memory) series(l labels.Labels) *samples {
	var buf [512]byte
	key := l.Bytes(buf[:0])
	if s, ok := m.byKey[string(key)]; ok {
		return s
	}
	s := &samples{labels: l}
	m.add(s)
	return s
}

// add puts a whole series in; none with its labels may be there.
func (m *memory) add(s *samples) {
	m.byKey[string(s.labels.Bytes(nil))] = s
	name := s.labels.Get(labels.MetricName)
	all := m.byName[name]
	at, _ := slices.BinarySearchFunc(all, s, func(a, b *samples) int { return labels.Compare(a.labels, b.labels) })
	m.byName[name] = slices.Insert(all, at, s)
}

func (s *samples) append(t int64, v float64, h *histogram.FloatHistogram) {
	s.ts = append(s.ts, t)
	s.vs = append(s.vs, v)
	if h != nil && s.hs == nil {
		s.hs = make([]*histogram.FloatHistogram, len(s.ts)-1, cap(s.ts))
	}
	if s.hs != nil {
		s.hs = append(s.hs, h)
	}
}

// accepts says what a TSDB head would say of a sample that came now, and whether it is to be stored.
func (s *samples) accepts(t int64, v float64, h *histogram.FloatHistogram) (bool, error) {
	last := len(s.ts) - 1
	switch {
	case last < 0 || t > s.ts[last]:
		return true, nil
	case t < s.ts[last]:
		return false, storage.ErrOutOfOrderSample
	}
	var old *histogram.FloatHistogram
	if s.hs != nil {
		old = s.hs[last]
	}
	same := math.Float64bits(v) == math.Float64bits(s.vs[last]) && (h == nil) == (old == nil)
	if h != nil && old != nil {
		same = h.Equals(old)
	}
	if !same {
		return false, storage.ErrDuplicateSampleForTimestamp
	}
	return false, nil
}

// Appender implements storage.Appendable.
func (m *memory) Appender(context.Context) storage.Appender { return &memoryAppender{memory: m} }

// memoryAppender keeps samples back until Commit. Only the methods that a rule group calls do anything.
type memoryAppender struct {
	memory  *memory
	pending []pendingSample
}

type pendingSample struct {
	series *samples
	t      int64
	v      float64
	h      *histogram.FloatHistogram
}

func (a *memoryAppender) append(l labels.Labels, t int64, v float64, h *histogram.FloatHistogram) error {
	s := a.memory.series(l)
	store, err := s.accepts(t, v, h)
	if store {
		a.pending = append(a.pending, pendingSample{s, t, v, h})
	}
	return err
}

func (a *memoryAppender) Append(_ storage.SeriesRef, l labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	return 0, a.append(l, t, v, nil)
}

func (a *memoryAppender) AppendHistogram(_ storage.SeriesRef, l labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if fh == nil {
		fh = h.ToFloat(nil)
	}
	return 0, a.append(l, t, 0, fh)
}

func (a *memoryAppender) Commit() error {
	for _, p := range a.pending {
		if store, _ := p.series.accepts(p.t, p.v, p.h); store { // the same series may have come twice
			p.series.append(p.t, p.v, p.h)
		}
	}
	a.pending = nil
	return nil
}

func (a *memoryAppender) Rollback() error {
	a.pending = nil
	return nil
}

func (*memoryAppender) SetOptions(*storage.AppendOptions) {}

func (*memoryAppender) AppendExemplar(storage.SeriesRef, labels.Labels, exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, nil
}

func (*memoryAppender) AppendHistogramSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, nil
}

func (*memoryAppender) AppendSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64) (storage.SeriesRef, error) {
	return 0, nil
}

func (*memoryAppender) UpdateMetadata(storage.SeriesRef, labels.Labels, metadata.Metadata) (storage.SeriesRef, error) {
	return 0, nil
}

// selected lists the series that the matchers select, sorted by labels.
func (m *memory) selected(matchers []*labels.Matcher) []*samples {
	var found []*samples
	take := func(all []*samples) {
		for _, s := range all {
			if matchesAll(s.labels, matchers) {
				found = append(found, s)
			}
		}
	}
	if name, ok := equalName(matchers); ok {
		take(m.byName[name])
		return found
	}
	for _, all := range m.byName {
		take(all)
	}
	slices.SortFunc(found, func(a, b *samples) int { return labels.Compare(a.labels, b.labels) })
	return found
}

func matchesAll(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// equalName is the metric name that the matchers demand, if they demand one.
func equalName(matchers []*labels.Matcher) (string, bool) {
	for _, m := range matchers {
		if m.Name == labels.MetricName && m.Type == labels.MatchEqual {
			return m.Value, true
		}
	}
	return "", false
}

// Querier implements storage.Queryable.
func (m *memory) Querier(mint, maxt int64) (storage.Querier, error) {
	return &memoryQuerier{m, mint, maxt}, nil
}

type memoryQuerier struct {
	memory     *memory
	mint, maxt int64
}

func (q *memoryQuerier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	return &samplesSet{series: q.memory.selected(matchers), at: -1, mint: q.mint, maxt: q.maxt}
}

func (*memoryQuerier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*memoryQuerier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*memoryQuerier) Close() error { return nil }

// samplesSet is a storage.SeriesSet of series that lie in memory.
type samplesSet struct {
	series     []*samples
	at         int
	mint, maxt int64
}

func (s *samplesSet) Next() bool                      { s.at++; return s.at < len(s.series) }
func (*samplesSet) Err() error                        { return nil }
func (*samplesSet) Warnings() annotations.Annotations { return nil }
func (s *samplesSet) At() storage.Series {
	all := s.series[s.at]
	from := sort.Search(len(all.ts), func(i int) bool { return all.ts[i] >= s.mint })
	to := sort.Search(len(all.ts), func(i int) bool { return all.ts[i] > s.maxt })
	part := &samples{labels: all.labels, ts: all.ts[from:to], vs: all.vs[from:to]}
	if all.hs != nil {
		part.hs = all.hs[from:to]
	}
	return part
}

// Labels implements storage.Series.
func (s *samples) Labels() labels.Labels { return s.labels }

// Iterator implements storage.Series.
func (s *samples) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return &samplesIterator[int64]{samples: s, at: -1}
}

// samplesIterator is a chunkenc.Iterator. It is generic for one reason: go vet takes a method Seek of an int64 for a
// misspelt io.Seeker, and does not look into type parameters.
type samplesIterator[T int64] struct {
	*samples
	at int
}

func (it *samplesIterator[T]) valueType() chunkenc.ValueType {
	switch {
	case it.at >= len(it.ts):
		return chunkenc.ValNone
	case len(it.hs) > 0 && it.hs[it.at] != nil:
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValFloat
}

func (it *samplesIterator[T]) Next() chunkenc.ValueType {
	it.at = min(it.at+1, len(it.ts))
	return it.valueType()
}

func (it *samplesIterator[T]) Seek(to T) chunkenc.ValueType {
	t := int64(to)
	from := max(it.at, 0)
	if from < len(it.ts) && it.ts[from] < t {
		from += sort.Search(len(it.ts)-from, func(i int) bool { return it.ts[from+i] >= t })
	}
	it.at = from
	return it.valueType()
}

func (it *samplesIterator[T]) At() (int64, float64) { return it.ts[it.at], it.vs[it.at] }
func (it *samplesIterator[T]) AtT() int64           { return it.ts[it.at] }
func (*samplesIterator[T]) AtST() int64             { return 0 }
func (*samplesIterator[T]) Err() error              { return nil }

// AtHistogram is never called, because all histograms here are float histograms.
func (*samplesIterator[T]) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	panic("evaluator: integer histogram asked of float histograms")
}

func (it *samplesIterator[T]) AtFloatHistogram(into *histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	h := it.hs[it.at]
	if into == nil {
		return it.ts[it.at], h.Copy()
	}
	h.CopyTo(into)
	return it.ts[it.at], into
}
