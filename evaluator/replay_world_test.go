package evaluator

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// world is a history and rule groups, both made by chance from a seed.
type world struct {
	rand    *rand.Rand
	history storage.Queryable
	memory  *memory
	groups  *rulefmt.RuleGroups
	start   time.Time
	end     time.Time
	wild    int // rules so far
}

// chunked shows a memory as chunks too, as a TSDB does.
type chunked struct{ *memory }

func (c chunked) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	q, err := c.Querier(mint, maxt)
	return &chunkedQuerier{q}, err
}

type chunkedQuerier struct{ storage.Querier }

func (q *chunkedQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.ChunkSeriesSet {
	return storage.NewSeriesSetToChunkSet(q.Querier.Select(ctx, sorted, hints, matchers...))
}

// valued can list label values too, which cutting by partition asks for.

type valued struct{ chunked }

func (v valued) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := v.chunked.Querier(mint, maxt)
	return &valuedQuerier{q, v.memory}, err
}

type valuedQuerier struct {
	storage.Querier
	memory *memory
}

func (q *valuedQuerier) LabelValues(_ context.Context, name string, _ *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	seen := map[string]bool{}
	var all []string
	for _, s := range q.memory.selected(matchers) {
		if v := s.labels.Get(name); v != "" && !seen[v] {
			seen[v] = true
			all = append(all, v)
		}
	}
	return all, nil, nil
}

const worldStart = 1_700_000_000_000

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 7))
	w := &world{rand: r, memory: newMemory()}
	w.start = time.UnixMilli(worldStart + r.Int64N(100_000)).UTC()
	w.end = w.start.Add(time.Duration(10+r.IntN(60)) * time.Minute)
	w.fill()
	w.history = w.memory
	if r.IntN(2) == 0 {
		w.history = valued{chunked{w.memory}}
	}
	w.write()
	return w
}

func (w *world) pick(all ...string) string { return all[w.rand.IntN(len(all))] }

// fill writes the history: counters that reset, gauges, gaps, stale markers, NaN, births, histograms.
func (w *world) fill() {
	tenants := []string{"a", "b", "c", ""}[:1+w.rand.IntN(4)]
	for _, metric := range []string{"requests_total", "latency_bucket", "latency_count", "load"} {
		for _, tenant := range tenants {
			for _, code := range []string{"200", "404", "500", "503"} {
				if w.rand.IntN(4) == 0 {
					continue
				}
				b := labels.NewBuilder(labels.FromStrings(labels.MetricName, metric, "service", w.pick("api", "api", "web")))
				b.Set("tenant", tenant)
				if metric == "latency_bucket" {
					b.Set("le", map[string]string{"200": "0.1", "404": "0.3", "500": "1", "503": "+Inf"}[code])
				} else {
					b.Set("code", code)
				}
				w.series(b.Labels(), metric == "load")
			}
		}
	}
	if w.rand.IntN(4) == 0 {
		w.histograms()
	}
}

func (w *world) series(l labels.Labels, gauge bool) {
	s := w.memory.series(l)
	step := int64(5000 + w.rand.IntN(60_000))
	jitter := []int64{0, 0, 3, 4000}[w.rand.IntN(4)]
	if step%3 == 0 { // in step with the ticks, as scrapes usually are
		step, jitter = []int64{10_000, 15_000, 30_000}[step/3%3], 0
	}
	from := worldStart - int64(w.rand.IntN(3))*1_800_000
	to := w.end.UnixMilli() - int64(w.rand.IntN(3)*w.rand.IntN(1_000_000))
	v := []float64{0, 0, 3, 1e6, 1e-9}[w.rand.IntN(5)]
	speed := []float64{0, 0.1, 1, 5, 1e3}[w.rand.IntN(5)]
	trouble := w.rand.IntN(3) == 0
	for t := from; t <= to; t += step {
		at := t
		if jitter > 0 {
			at += w.rand.Int64N(jitter)
		}
		if n := len(s.ts); n > 0 && at <= s.ts[n-1] {
			continue
		}
		switch {
		case trouble && w.rand.IntN(40) == 0:
			t += step * int64(w.rand.IntN(30)) // a gap
			continue
		case trouble && w.rand.IntN(35) == 0:
			s.append(at, math.Float64frombits(absentBits), nil)
			continue
		case trouble && w.rand.IntN(60) == 0:
			s.append(at, math.NaN(), nil)
			continue
		case trouble && w.rand.IntN(200) == 0:
			s.append(at, math.Inf(1-2*w.rand.IntN(2)), nil)
			continue
		case w.rand.IntN(60) == 0:
			v = []float64{0, 1, v / 2}[w.rand.IntN(3)] // a reset
		}
		s.append(at, v, nil)
		if gauge {
			v = w.rand.NormFloat64() * 10
		} else if w.rand.IntN(3) > 0 {
			v += math.Round(w.rand.ExpFloat64()*speed*100) / []float64{1, 100, 3}[w.rand.IntN(3)]
		}
	}
}

// histograms puts native histograms into series of their own, and among the floats of another.
func (w *world) histograms() {
	for _, tenant := range []string{"a", "b"} {
		s := w.memory.series(labels.FromStrings(labels.MetricName, "native", "tenant", tenant, "service", "api"))
		for t := int64(worldStart - 600_000); t < w.end.UnixMilli(); t += 20_000 {
			n := float64((t - worldStart + 600_000) / 10_000 % 300)
			s.append(t, 0, &histogram.FloatHistogram{
				Schema: 1, Count: n * 3, Sum: n * 7,
				PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []float64{n, 2 * n},
			})
		}
		if w.rand.IntN(2) == 0 {
			s.append(w.end.UnixMilli(), 3, nil)
		}
	}
}

// write makes the rule groups.
func (w *world) write() {
	w.groups = &rulefmt.RuleGroups{}
	for i := range 1 + w.rand.IntN(2)*w.rand.IntN(3) {
		g := rulefmt.RuleGroup{Name: fmt.Sprintf("g%d", i)}
		if w.rand.IntN(2) == 0 {
			g.Interval = model.Duration(time.Duration(10+w.rand.IntN(120)) * time.Second)
		}
		if w.rand.IntN(4) == 0 {
			offset := model.Duration(time.Duration(w.rand.IntN(90)) * time.Second)
			g.QueryOffset = &offset
		}
		if w.rand.IntN(6) == 0 {
			g.Limit = 1 + w.rand.IntN(3)
		}
		if w.rand.IntN(3) == 0 {
			g.Labels = map[string]string{"grouped": "yes"}
		}
		if w.rand.IntN(2) == 0 {
			g.Rules = append(g.Rules, w.burnRates()...)
		}
		for range w.rand.IntN(4) {
			g.Rules = append(g.Rules, w.wildRule())
		}
		w.groups.Groups = append(w.groups.Groups, g)
	}
}

// burnRates are rules in the shapes that generated ones have.
func (w *world) burnRates() []rulefmt.Rule {
	return w.burnRatesOf(w.pick("by (tenant)", "by (tenant, service)", ""))
}

func (w *world) burnRatesOf(by string) []rulefmt.Rule {
	service := w.pick("api", "web")
	set := map[string]string{"service": service, "slo": "availability"}
	var all []rulefmt.Rule
	windows := []string{"2m", "5m", "17m"}
	for _, window := range windows {
		errors := fmt.Sprintf(`sum %s (rate(requests_total{service=%q,code=~"5.."}[%s]))`, by, service, window)
		total := fmt.Sprintf(`sum %s (rate(requests_total{service=%q}[%s]))`, by, service, window)
		all = append(all, rulefmt.Rule{Record: "error_budget:burn_rate:" + window, Labels: set,
			Expr: fmt.Sprintf("(%s or %s * 0) / (%s > 0) / 0.005", errors, total, total)},
			rulefmt.Rule{Record: "error_budget:failures:" + window, Labels: set,
				Expr: strings.Replace(errors, "rate(", "increase(", 1)})
	}
	if w.rand.IntN(2) == 0 {
		all = append(all, rulefmt.Rule{Record: "error_budget:slow:5m", Labels: set, Expr: fmt.Sprintf(
			`1 - (sum %[1]s (rate(latency_bucket{service=%[2]q,le="0.3"}[5m])) / sum %[1]s (rate(latency_count{service=%[2]q}[5m])))`, by, service)})
	}
	matcher := fmt.Sprintf(`{service=%q,slo="availability"}`, service)
	all = append(all, rulefmt.Rule{Alert: "ErrorBudgetBurn", Labels: map[string]string{"service": service, "slo": "availability", "severity": "page"},
		For: w.duration(), KeepFiringFor: w.duration(),
		Expr: fmt.Sprintf("error_budget:burn_rate:17m%[1]s > %[2]d and error_budget:burn_rate:5m%[1]s > %[2]d and error_budget:failures:17m%[1]s >= 5", matcher, w.rand.IntN(60))})
	return all
}

func (w *world) duration() model.Duration {
	return model.Duration([]time.Duration{0, 0, time.Minute, 3 * time.Minute, 100 * time.Second}[w.rand.IntN(5)])
}

func (w *world) wildRule() rulefmt.Rule {
	expr := w.vector(3)
	if w.rand.IntN(3) > 0 {
		name := w.wild
		if w.rand.IntN(8) == 0 {
			name = w.rand.IntN(3)
		}
		w.wild++
		return rulefmt.Rule{Record: fmt.Sprintf("wild:%d", name), Expr: expr, Labels: w.labelSet()}
	}
	r := rulefmt.Rule{Alert: fmt.Sprintf("Wild%d", w.rand.IntN(2)), Expr: expr, For: w.duration(), KeepFiringFor: w.duration(), Labels: w.labelSet()}
	if w.rand.IntN(4) == 0 {
		r.Labels = map[string]string{"who": `{{ $labels.tenant }}`, "much": `{{ if gt $value 1.0 }}yes{{ else }}no{{ end }}`}
	}
	return r
}

// earlier names a recording that an earlier rule makes, as a rule.
func (w *world) earlier() string {
	return fmt.Sprintf("wild:%d", max(0, w.rand.IntN(w.wild+1)-1+w.rand.IntN(16)/15))
}

func (w *world) labelSet() map[string]string {
	switch w.rand.IntN(5) {
	case 0:
		return map[string]string{"service": "api"}
	case 1:
		return map[string]string{"code": ""}
	case 2:
		return map[string]string{"tenant": "x", "team": "t"}
	}
	return nil
}

// vector is a PromQL expression for a vector.
func (w *world) vector(depth int) string {
	if depth == 0 {
		return w.leaf()
	}
	next := func() string { return w.vector(depth - 1 - w.rand.IntN(depth)) }
	switch w.rand.IntN(16) {
	case 0, 1, 2:
		return w.leaf()
	case 3, 4, 5:
		op := w.pick("sum", "sum", "count", "min", "max", "avg", "group", "stddev", "quantile", "topk")
		param := map[string]string{"quantile": "0.7, ", "topk": "2, "}[op]
		return fmt.Sprintf("%s %s (%s%s)", op, w.pick("by (tenant)", "by (service, tenant)", "without (code)", "", "without (tenant, le)"), param, next())
	case 6, 7:
		return fmt.Sprintf("(%s) %s %s", next(), w.pick("* 0", "> 0", "/ 0.005", "+ 1", "< 0.5", ">= 3", "== 0", "!= 1", "% 3", "^ 2", "> bool 1", "- -1"), "")
	case 8:
		return fmt.Sprintf("%s %s (%s)", w.pick("1", "0.5", "0"), w.pick("-", "/", "<", ">=", "* "), next())
	case 9, 10:
		return fmt.Sprintf("(%s) %s %s (%s)", next(), w.pick("and", "or", "unless"), w.pick("", "", "on (tenant)", "ignoring (code)"), next())
	case 11, 12:
		return fmt.Sprintf("(%s) %s %s (%s)", next(), w.pick("/", "+", "-", "*", ">", "<=", "== bool"), w.pick("", "", "on (tenant)", "ignoring (code, le)", "on (tenant) group_left ()"), next())
	case 13:
		return "-(" + next() + ")"
	case 14:
		return fmt.Sprintf(w.pick("abs(%s)", "clamp_max(%s, 3)", "round(%s)", "absent(%s)", "histogram_quantile(0.9, %s)", "vector(scalar(%s))", "timestamp(%s)", "label_replace(%s, \"tenant\", \"z\", \"code\", \"200\")", "sort(%s)"), next())
	default:
		return w.pick("vector(1)", "vector(time())", "max_over_time(sum(rate(requests_total[3m]))[6m:1m])", w.leaf()+" or vector(0)")
	}
}

// leaf is a selector, or a function of a range of one.
func (w *world) leaf() string {
	selector := w.pick("requests_total", "requests_total", "load", "latency_bucket", w.earlier(), w.earlier(), "error_budget:burn_rate:5m", "native", w.pick("load", "load", "ALERTS"), `{__name__=~"requests_total|load"}`) +
		w.pick("", "", `{service="api"}`, `{code=~"5.."}`, `{tenant!="a"}`, `{service="web",code!~"4.."}`)
	selector = strings.Replace(selector, "}{", ",", 1)
	offset := w.pick("", "", "", "", " offset 1m", " offset 7m", w.pick("", " offset -1m", " @ 1700000300"))
	if w.rand.IntN(3) == 0 {
		return selector + offset
	}
	f := w.pick("rate", "rate", "increase", "delta", "irate", "idelta", "sum_over_time", "count_over_time", "avg_over_time",
		"min_over_time", "max_over_time", "last_over_time", "present_over_time", "changes", "resets", "stddev_over_time", "deriv")
	return fmt.Sprintf("%s(%s[%s]%s)", f, selector, w.pick("45s", "2m", "5m", "11m"), offset)
}

func (w *world) options() ReplayOptions {
	return ReplayOptions{Start: w.start, End: w.end, Interval: 30 * time.Second, AtStart: w.rand.IntN(3) == 0, File: "rules.yml", Parallelism: 2}
}
