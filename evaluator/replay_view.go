package evaluator

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// shadow is a history without the series that replayed rules could have written.
type shadow struct {
	history storage.Queryable
	writers map[string][]*rule // by the name of what they write
}

func newShadow(history storage.Queryable, groups []*group) *shadow {
	s := &shadow{history: history, writers: map[string][]*rule{}}
	for _, g := range groups {
		for _, r := range g.rules {
			for _, name := range r.writes() {
				s.writers[name] = append(s.writers[name], r)
			}
		}
	}
	return s
}

// hides reports whether the series is out of sight.
func (s *shadow) hides(l labels.Labels) bool {
	for _, r := range s.writers[l.Get(labels.MetricName)] {
		if r.couldHaveWritten(l) {
			return true
		}
	}
	return false
}

// touches reports whether the matchers might select a series that is hidden.
func (s *shadow) touches(matchers []*labels.Matcher) bool {
	if name, ok := equalName(matchers); ok {
		return len(s.writers[name]) > 0
	}
	for name := range s.writers {
		if nameMatches(name, matchers) {
			return true
		}
	}
	return false
}

func nameMatches(name string, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if m.Name == labels.MetricName && !m.Matches(name) {
			return false
		}
	}
	return true
}

// Querier implements storage.Queryable.
func (s *shadow) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := s.history.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return &shadowQuerier{q, s}, nil
}

type shadowQuerier struct {
	storage.Querier
	shadow *shadow
}

func (q *shadowQuerier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := q.Querier.Select(ctx, true, hints, matchers...)
	if !q.shadow.touches(matchers) {
		return set
	}
	return &shadowSet{set, q.shadow}
}

type shadowSet struct {
	storage.SeriesSet
	shadow *shadow
}

func (s *shadowSet) Next() bool {
	for s.SeriesSet.Next() {
		if !s.shadow.hides(s.SeriesSet.At().Labels()) {
			return true
		}
	}
	return false
}

// view is what the rules of a part see: the history, cut down to the part, and what has been recorded.
type view struct {
	history  *shadow
	part     []*labels.Matcher // added to every selector on the history
	recorded *memory
	stand    map[string][]*samples // series that stand in for an expression, by the name that stands in its place
}

// standIn is the label that marks a selector which stands in for an expression. Its value names the expression.
const standIn = "__slowburn_stand_in__"

// Querier implements storage.Queryable. Series come sorted.
func (v *view) Querier(mint, maxt int64) (storage.Querier, error) {
	h, err := v.history.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	recorded, err := v.recorded.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	merged := storage.NewMergeQuerier([]storage.Querier{&partQuerier{h, v.part}, recorded}, nil, storage.ChainedSeriesMerge)
	return &standInQuerier{merged, v.stand, mint, maxt}, nil
}

type partQuerier struct {
	storage.Querier
	part []*labels.Matcher
}

func (q *partQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	return q.Querier.Select(ctx, sorted, hints, append(slices.Clip(matchers), q.part...)...)
}

type standInQuerier struct {
	storage.Querier
	stand      map[string][]*samples
	mint, maxt int64
}

func (q *standInQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	for _, m := range matchers {
		if m.Name == standIn {
			return &samplesSet{series: q.stand[m.Value], at: -1, mint: q.mint, maxt: q.maxt}
		}
	}
	return q.Querier.Select(ctx, sorted, hints, matchers...)
}
