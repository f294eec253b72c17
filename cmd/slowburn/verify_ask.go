package main

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn/slowburn/evaluator"
)

// ask evaluates an instant query and gives each series that it yields. It returns how many samples the engine touched.
func ask(ctx context.Context, engine *evaluator.Engine, q storage.Queryable, expr string, at time.Time, each func(labels.Labels, float64)) (int64, error) {
	query, err := engine.NewInstantQuery(ctx, q, nil, expr, at)
	if err != nil {
		return 0, err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return 0, result.Err
	}
	vector, err := result.Vector()
	if err == nil {
		for _, s := range vector {
			each(s.Metric, s.F)
		}
	} else if s, err := result.Scalar(); err == nil {
		each(labels.EmptyLabels(), s.V)
	}
	return query.Stats().Samples.TotalSamples, nil
}

// inventory is the series that a history held within a short time before its end: labels only.
type inventory struct {
	at       time.Time
	all      []labels.Labels
	byMetric map[string][]labels.Labels
}

// recent is how far back a series counts as there: as long as Prometheus keeps one in its head after its last sample, at least.
const recent = time.Hour

// maxInventory bounds what is counted.
const maxInventory = 5_000_000

// takeStock lists the series at the history's end, and the metrics of all of it for the contracts to be settled by.
func (v *verification) takeStock(ctx context.Context) error {
	mint, maxt := v.history.Extent()
	if maxt < mint {
		return nil // the replay says so
	}
	end := v.end()
	v.present = &inventory{at: end, byMetric: map[string][]labels.Labels{}}
	if err := v.present.read(ctx, v.history); err != nil {
		return err
	}
	catalog, err := catalogOf(ctx, v.history)
	if err != nil {
		return err
	}
	v.catalog = catalog
	return nil
}

func (i *inventory) read(ctx context.Context, h storage.Queryable) error {
	set, done, err := pick(ctx, h, i.at.Add(-recent).UnixMilli(), i.at.UnixMilli(), labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+"))
	if err != nil {
		return err
	}
	defer done()
	for set.Next() {
		l := set.At().Labels()
		name := l.Get(labels.MetricName)
		i.all = append(i.all, l)
		i.byMetric[name] = append(i.byMetric[name], l)
		if len(i.all) > maxInventory {
			break
		}
	}
	return set.Err()
}

// pick selects the labels of series, without their samples.
func pick(ctx context.Context, h storage.Queryable, mint, maxt int64, matchers ...*labels.Matcher) (storage.SeriesSet, func(), error) {
	q, err := h.Querier(mint, maxt)
	if err != nil {
		return nil, nil, err
	}
	hints := &storage.SelectHints{Start: mint, End: maxt, Func: "series"}
	return q.Select(ctx, false, hints, matchers...), func() { q.Close() }, nil //nolint:errcheck // nothing was written
}

// selects counts the series of the inventory that matchers select.
func (i *inventory) selects(matchers []*labels.Matcher) []labels.Labels {
	candidates := i.all
	for _, m := range matchers {
		if m.Name == labels.MetricName && m.Type == labels.MatchEqual {
			candidates = i.byMetric[m.Value]
		}
	}
	var found []labels.Labels
	for _, l := range candidates {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(l.Get(m.Name)) }) {
			found = append(found, l)
		}
	}
	return found
}

// ever reports whether the history held a series that matchers select, at any time.
func ever(ctx context.Context, h storage.Queryable, matchers []*labels.Matcher) (bool, error) {
	set, done, err := pick(ctx, h, math.MinInt64, math.MaxInt64, matchers...)
	if err != nil {
		return false, err
	}
	defer done()
	return set.Next(), set.Err()
}
