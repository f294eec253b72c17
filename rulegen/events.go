package rulegen

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/slo"
)

// events writes the expressions that count an indicator's events per tenant.
type events interface {
	burnRate(w time.Duration, budget float64) parser.Expr
	failures(w time.Duration) parser.Expr        // failed events within w
	count(w time.Duration) parser.Expr           // all events within w
	series(bad, good int) ([]inputSeries, error) // promtool input that counts so many events a step
}

func newEvents(o slo.Objective, opts Options) (events, error) {
	scope := scope{by: o.Tenant.Label, tenant: o.Tenant.Static, service: o.Service, serviceLabel: opts.serviceLabel()}
	if o.Tenant.Label == "" && !o.Tenant.IsZero() {
		return nil, errors.New("the tenant label is not known: write tenantLabel=, or give series to find it in")
	}
	switch i := o.Indicator.(type) {
	case slo.Availability:
		return newCounters(i, scope)
	case slo.Latency:
		return newHistogram(i, scope)
	case slo.Unnamed, nil:
		return nil, errors.New("names no metric: write errors= and total=, or metric= and threshold=")
	}
	panic(fmt.Sprintf("rulegen: indicator %T", o.Indicator))
}

// scope narrows every selector to the service, and to the tenant where the contract pins one.
type scope struct {
	by           string
	tenant       string
	service      string
	serviceLabel string
}

func (s scope) narrow(sel selector) selector {
	sel = sel.with(s.serviceLabel, s.service)
	if s.tenant != "" {
		sel = sel.with(s.by, s.tenant)
	}
	return sel
}

func (s scope) sum(function string, sel selector, w time.Duration) parser.Expr {
	return sumBy(s.by, rangeCall(function, sel, w))
}

// counters are two counters: failed events and all events.
type counters struct {
	scope
	errors selector
	total  selector
}

func newCounters(i slo.Availability, s scope) (events, error) {
	errs, err := parseSelector(i.Errors)
	if err != nil {
		return nil, fmt.Errorf("errors: %w", err)
	}
	total, err := parseSelector(i.Total)
	if err != nil {
		return nil, fmt.Errorf("total: %w", err)
	}
	return counters{scope: s, errors: s.narrow(errs), total: s.narrow(total)}, nil
}

// bad is the failed events, 0 rather than absent for a tenant without any.
func (c counters) bad(function string, w time.Duration) parser.Expr {
	return paren(binary(parser.LOR,
		c.sum(function, c.errors, w),
		binary(parser.MUL, c.sum(function, c.total, w), number(0))))
}

func (c counters) burnRate(w time.Duration, budget float64) parser.Expr {
	// Without traffic the > 0 leaves nothing to divide by: the burn rate is absent, never NaN.
	total := paren(binary(parser.GTR, c.sum("rate", c.total, w), number(0)))
	return binary(parser.DIV, binary(parser.DIV, c.bad("rate", w), total), number(budget))
}

func (c counters) failures(w time.Duration) parser.Expr { return unwrap(c.bad("increase", w)) }

func (c counters) count(w time.Duration) parser.Expr { return c.sum("increase", c.total, w) }

// buckets is a classic histogram: bad is what is not in the bucket of the threshold.
type buckets struct {
	scope
	all   selector
	good  selector
	bound float64
}

// newHistogram takes the metric's own unit from its name: OpenTelemetry's older names and hand-made ones count milliseconds.
func newHistogram(i slo.Latency, s scope) (events, error) {
	metric, err := parseSelector(i.Metric)
	if err != nil {
		return nil, fmt.Errorf("metric: %w", err)
	}
	if i.Threshold <= 0 {
		return nil, fmt.Errorf("latency threshold %s is not above 0", i.Threshold)
	}
	metric = s.narrow(metric)
	bound := upperBound(metric.metric, i.Threshold)
	if i.Native {
		return native{scope: s, metric: metric, bound: bound}, nil
	}
	all := metric.named(metric.metric + "_count")
	good := bucketOf(metric.named(metric.metric+"_bucket"), bound)
	return buckets{scope: s, all: all, good: good, bound: bound}, nil
}

func upperBound(metric string, threshold time.Duration) float64 {
	if strings.HasSuffix(metric, "_ms") || strings.HasSuffix(metric, "_milliseconds") {
		return float64(threshold) / float64(time.Millisecond)
	}
	return threshold.Seconds()
}

// bucketOf selects the bucket by le in both spellings: Prometheus 3 stores 1 as 1.0, older servers and remotes as 1.
func bucketOf(s selector, bound float64) selector {
	le := slo.FormatNumber(bound)
	if strings.Contains(le, ".") {
		return s.matching(labels.MatchEqual, "le", le)
	}
	return s.matching(labels.MatchRegexp, "le", le+`(\.0)?`)
}

func (b buckets) bad(function string, w time.Duration) parser.Expr {
	return paren(binary(parser.SUB, b.sum(function, b.all, w), b.sum(function, b.good, w)))
}

func (b buckets) burnRate(w time.Duration, budget float64) parser.Expr {
	total := paren(binary(parser.GTR, b.sum("rate", b.all, w), number(0)))
	return binary(parser.DIV, binary(parser.DIV, b.bad("rate", w), total), number(budget))
}

func (b buckets) failures(w time.Duration) parser.Expr { return unwrap(b.bad("increase", w)) }

func (b buckets) count(w time.Duration) parser.Expr { return b.sum("increase", b.all, w) }

// native is a native histogram, which has no bucket series.
type native struct {
	scope
	metric selector
	bound  float64
}

func (n native) slow(function string, w time.Duration) parser.Expr {
	good := call("histogram_fraction", number(0), number(n.bound), n.sum(function, n.metric, w))
	return paren(binary(parser.SUB, number(1), good))
}

func (n native) burnRate(w time.Duration, budget float64) parser.Expr {
	traffic := paren(binary(parser.GTR, call("histogram_count", n.sum("rate", n.metric, w)), number(0)))
	return binary(parser.LAND, binary(parser.DIV, n.slow("rate", w), number(budget)), traffic)
}

func (n native) failures(w time.Duration) parser.Expr {
	count := paren(binary(parser.GTR, n.count(w), number(0)))
	return binary(parser.MUL, n.slow("increase", w), count)
}

func (n native) count(w time.Duration) parser.Expr {
	return call("histogram_count", n.sum("increase", n.metric, w))
}

func unwrap(e parser.Expr) parser.Expr {
	if p, ok := e.(*parser.ParenExpr); ok {
		return p.Expr
	}
	return e
}
