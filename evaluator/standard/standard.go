// Package standard is the standard history, on which the speed of a replay is measured: requests of some tenants to
// four services, with known incidents, made by rule from a seed, and the rule groups that go with it. It measures
// nothing.
package standard

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// Metric is what the history holds.
const Metric = "http_requests_total"

// Scrape is the time between two samples of a series.
const Scrape = 30 * time.Second

// Start is when the history begins.
func Start() time.Time { return time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC) }

// Services are the services that have the requests.
func Services() []string { return []string{"api", "checkout", "search", "worker"} }

// Incident is a time at which a share of a tenant's requests to a service fails.
type Incident struct {
	Service, Tenant string
	Start, End      time.Time
	Ratio           float64
}

// History is the standard history. It implements storage.Queryable; its queriers select by equality alone and may be
// used one at a time. Reading it in the order of time is fastest.
type History struct {
	days      int
	series    []*series
	Incidents []Incident
}

// New makes the history of so many tenants over so many days. The same numbers make the same history.
func New(tenants, days int) *History {
	h := &History{days: days}
	for _, service := range Services() {
		for i := range tenants {
			tenant := fmt.Sprintf("tenant-%04d", i)
			incidents := incidentsOf(service, tenant, days)
			h.Incidents = append(h.Incidents, incidents...)
			for _, code := range []string{"200", "500"} {
				h.series = append(h.series, newSeries(service, tenant, code, incidents))
			}
		}
	}
	slices.SortFunc(h.series, func(a, b *series) int { return labels.Compare(a.labels, b.labels) })
	return h
}

// End is when the history ends.
func (h *History) End() time.Time { return Start().Add(time.Duration(h.days) * 24 * time.Hour) }

// Samples is how many samples it has; one less for a series that begins late in its first scrape interval.
func (h *History) Samples() int64 {
	return int64(len(h.series)) * (int64(h.days)*int64(24*time.Hour/Scrape) + 1)
}

// incidentsOf has about one incident in ten days, of minutes to hours.
func incidentsOf(service, tenant string, days int) []Incident {
	r := random(hash(service + "/" + tenant + "/incidents"))
	var all []Incident
	at := Start()
	for {
		at = at.Add(time.Duration(float64(20*24*time.Hour) * r.float()))
		length := 5*time.Minute + time.Duration(float64(6*time.Hour)*math.Pow(r.float(), 3))
		if at.Add(length).Sub(Start()) > time.Duration(days)*24*time.Hour {
			return all
		}
		ratio := 0.005 * math.Pow(100, r.float())
		all = append(all, Incident{Service: service, Tenant: tenant, Start: at, End: at.Add(length), Ratio: ratio})
		at = at.Add(length)
	}
}

// series is one counter, and where its making stands.
type series struct {
	labels    labels.Labels
	failures  bool
	rate      float64 // requests between two scrapes
	incidents []Incident
	first     state
	last      state
}

// state is a sample, and what the next follows from.
type state struct {
	t      int64
	v      float64
	random random
}

func newSeries(service, tenant, code string, incidents []Incident) *series {
	s := &series{
		labels:   labels.FromStrings(labels.MetricName, Metric, "code", code, "instance", service+":8080", "job", service, "service", service, "tenant", tenant),
		failures: code == "500", incidents: incidents,
	}
	r := random(hash(service + "/" + tenant))
	s.rate = 20 * math.Pow(30, r.float())
	s.first = state{t: Start().UnixMilli() + int64(r.float()*float64(Scrape.Milliseconds())), random: random(hash(s.labels.String()))}
	s.last = s.first
	return s
}

// next makes the sample that follows.
func (s *series) next(at state) state {
	at.t += Scrape.Milliseconds()
	if at.random.float() < 1e-5 {
		at.v = 0 // a deployment
	}
	day := 2 * math.Pi * float64(at.t%86_400_000) / 86_400_000
	expected := s.rate * (1 + 0.6*math.Sin(day)) * s.share(at.t)
	at.v += math.Floor(expected * (0.5 + at.random.float()))
	if at.random.float() < expected-math.Floor(expected) {
		at.v++
	}
	return at
}

// share is the part of the requests that the series counts.
func (s *series) share(t int64) float64 {
	failed := 0.0003
	for _, i := range s.incidents {
		if t >= i.Start.UnixMilli() && t < i.End.UnixMilli() {
			failed = i.Ratio
		}
	}
	if s.failures {
		return failed
	}
	return 1 - failed
}

// Querier implements storage.Queryable.
func (h *History) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{h, mint, min(maxt, h.End().UnixMilli())}, nil
}

type querier struct {
	history    *History
	mint, maxt int64
}

// Select implements storage.Querier.
func (q *querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{querier: q}
	for _, s := range q.history.series {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
			set.left = append(set.left, s)
		}
	}
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
	querier *querier
	left    []*series
	at      *series
}

// Next implements storage.SeriesSet.
func (s *seriesSet) Next() bool {
	if len(s.left) == 0 {
		return false
	}
	s.at, s.left = s.left[0], s.left[1:]
	return true
}

// At implements storage.SeriesSet.
func (s *seriesSet) At() storage.Series { return &bounded{s.at, s.querier.mint, s.querier.maxt} }

// Err implements storage.SeriesSet.
func (*seriesSet) Err() error { return nil }

// Warnings implements storage.SeriesSet.
func (*seriesSet) Warnings() annotations.Annotations { return nil }

// bounded is a series between two times.
type bounded struct {
	series     *series
	mint, maxt int64
}

// Labels implements storage.Series.
func (b *bounded) Labels() labels.Labels { return b.series.labels }

// Iterator implements storage.Series.
func (b *bounded) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	if b.series.last.t > b.mint {
		b.series.last = b.series.first
	}
	return &iterator[int64]{bounded: b, at: b.series.last}
}

// iterator makes one sample after another. It is generic for one reason: go vet takes a method Seek of an int64 for a
// misspelt io.Seeker, and does not look into type parameters.
type iterator[T int64] struct {
	*bounded
	at   state
	some bool
}

// Next implements chunkenc.Iterator.
func (it *iterator[T]) Next() chunkenc.ValueType {
	for {
		if it.some || it.at.t < it.mint {
			it.at = it.series.next(it.at)
		}
		it.some = it.at.t >= it.mint
		if it.at.t > it.maxt {
			return chunkenc.ValNone
		}
		if it.some {
			it.series.last = it.at
			return chunkenc.ValFloat
		}
	}
}

// Seek implements chunkenc.Iterator.
func (it *iterator[T]) Seek(t T) chunkenc.ValueType {
	kind := chunkenc.ValFloat
	for kind != chunkenc.ValNone && (!it.some || it.at.t < int64(t)) {
		kind = it.Next()
	}
	return kind
}

// At implements chunkenc.Iterator.
func (it *iterator[T]) At() (int64, float64) { return it.at.t, it.at.v }

// AtT implements chunkenc.Iterator.
func (it *iterator[T]) AtT() int64 { return it.at.t }

// AtST implements chunkenc.Iterator.
func (*iterator[T]) AtST() int64 { return 0 }

// Err implements chunkenc.Iterator.
func (*iterator[T]) Err() error { return nil }

// AtHistogram is never called: there are floats alone.
func (*iterator[T]) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	panic("standard: histogram asked of a counter")
}

// AtFloatHistogram is never called: there are floats alone.
func (*iterator[T]) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	panic("standard: histogram asked of a counter")
}

// random is the state of a generator of random numbers (splitmix64), which is small, fast and the same everywhere.
type random uint64

func (r *random) float() float64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// hash is FNV-1a.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range []byte(s) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}

// tier is one of the four tiers of the SRE workbook.
type tier struct {
	name, severity, long, short string
	factor                      float64
}

// Rules are the rule groups of policy sre in the shapes that generated ones have: for each service, recordings over
// seven windows, and four alerts.
func Rules() *rulefmt.RuleGroups {
	tiers := []tier{
		{"fast", "page", "1h", "5m", 14.4}, {"medium", "page", "6h", "30m", 6},
		{"slow", "ticket", "1d", "2h", 3}, {"long", "ticket", "3d", "6h", 1},
	}
	all := &rulefmt.RuleGroups{}
	for _, service := range Services() {
		g := rulefmt.RuleGroup{Name: service + "-availability", Interval: model.Duration(time.Minute)}
		set := map[string]string{"service": service, "slo": "availability"}
		for _, w := range []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d"} {
			total := fmt.Sprintf(`sum by (tenant) (rate(%s{service=%q}[%s]))`, Metric, service, w)
			failed := fmt.Sprintf(`sum by (tenant) (rate(%s{service=%q,code=~"5.."}[%s]))`, Metric, service, w)
			g.Rules = append(g.Rules, rulefmt.Rule{
				Record: "error_budget:burn_rate:" + w, Labels: set,
				Expr: fmt.Sprintf("(%s or %s * 0) / (%s > 0) / 0.005", failed, total, total),
			})
		}
		for _, t := range tiers {
			g.Rules = append(g.Rules, rulefmt.Rule{
				Record: "error_budget:failures:" + t.long, Labels: set,
				Expr: fmt.Sprintf(`sum by (tenant) (increase(%s{service=%q,code=~"5.."}[%s]))`, Metric, service, t.long),
			})
		}
		for _, t := range tiers {
			g.Rules = append(g.Rules, t.alert(service))
		}
		all.Groups = append(all.Groups, g)
	}
	return all
}

func (t tier) alert(service string) rulefmt.Rule {
	m := fmt.Sprintf(`{service=%q,slo="availability"}`, service)
	return rulefmt.Rule{
		Alert:  "ErrorBudgetBurn",
		Labels: map[string]string{"service": service, "slo": "availability", "severity": t.severity, "burn_tier": t.name},
		Expr: fmt.Sprintf("error_budget:burn_rate:%s%s > %g and error_budget:burn_rate:%s%s > %g and error_budget:failures:%s%s >= 5",
			t.long, m, t.factor, t.short, m, t.factor, t.long, m),
	}
}
