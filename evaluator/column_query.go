package evaluator

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
)

// queryTicks is how many ticks one range query answers: it bounds what the engine holds.
const queryTicks = 2048

// standIns plans what of the expression can be computed in columns although the whole can't, and how the engine
// is to evaluate the rest.
func (p *program) standIns(c *compiled) {
	p.findParts(c, c.expr, false)
	_, c.ranged = rangeOrder(c.expr)
}

// findParts looks for calls over a range, and for aggregations of such calls, unless what is above, an aggregation,
// depends on the order of its elements.
func (p *program) findParts(c *compiled, expr parser.Expr, sensitiveAbove bool) {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		p.findParts(c, e.Expr, sensitiveAbove)
	case *parser.UnaryExpr:
		p.findParts(c, e.Expr, sensitiveAbove)
	case *parser.BinaryExpr:
		p.findParts(c, e.LHS, sensitiveAbove)
		p.findParts(c, e.RHS, sensitiveAbove)
	case *parser.AggregateExpr:
		if _, ok := e.Expr.(*parser.Call); ok && !sensitiveAbove && p.part(c, e) {
			return
		}
		p.findParts(c, e.Expr, sensitiveAbove || sensitive(e.Op))
		if e.Param != nil {
			p.findParts(c, e.Param, false)
		}
	case *parser.Call:
		if p.part(c, e) {
			return
		}
		for _, arg := range e.Args {
			p.findParts(c, arg, sensitiveAbove)
		}
	}
}

// part plans a part, if it is a call over a range or an aggregation of one.
func (p *program) part(c *compiled, expr parser.Expr) bool {
	n, err := p.node(expr)
	if err != nil {
		return false
	}
	switch n := n.(type) {
	case *leaf:
	case *fold:
		if _, ok := n.of.(*leaf); !ok {
			return false
		}
	default:
		return false
	}
	need(n)
	c.parts = append(c.parts, standable{expr.String(), n})
	return true
}

// rangeOrder says whether the expression's elements come in no known order from a range query, and whether a range
// query yields what instant queries do, to the last bit.
func rangeOrder(expr parser.Expr) (unordered, ok bool) {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return rangeOrder(e.Expr)
	case *parser.UnaryExpr:
		_, ok = rangeOrder(e.Expr)
		return true, ok
	case *parser.BinaryExpr:
		_, l := rangeOrder(e.LHS)
		_, r := rangeOrder(e.RHS)
		return true, l && r
	case *parser.AggregateExpr:
		unordered, ok = rangeOrder(e.Expr)
		if e.Param != nil {
			_, param := rangeOrder(e.Param)
			ok = ok && param
		}
		return true, ok && (!unordered || !sensitive(e.Op))
	case *parser.Call:
		return callOrder(e)
	case *parser.SubqueryExpr:
		_, ok = rangeOrder(e.Expr)
		return true, ok && e.StartOrEnd == 0
	case *parser.MatrixSelector:
		return rangeOrder(e.VectorSelector)
	case *parser.VectorSelector:
		return false, e.StartOrEnd == 0
	}
	return false, true
}

func callOrder(e *parser.Call) (unordered, ok bool) {
	if slices.Contains([]string{"start", "end", "range", "step", "info"}, e.Func.Name) {
		return true, false
	}
	unordered, ok = true, true
	for _, arg := range e.Args {
		_, argOK := rangeOrder(arg)
		ok = ok && argOK
		if _, matrix := arg.(*parser.MatrixSelector); matrix {
			unordered = false
		}
	}
	return unordered, ok
}

// queried replays a rule through the engine.
func (j *job) queried(ctx context.Context, c *compiled, why string) (*result, error) {
	for _, w := range j.program.group.rules[:c.index] {
		if slices.ContainsFunc(c.selectors, func(s selector) bool { return s.reads(w) }) {
			j.store(w)
		}
	}
	query, ranged, err := j.rewritten(ctx, c)
	if err != nil {
		return nil, err
	}
	q := &querying{job: j, query: query, collector: newCollector(j.program.group.ticks.N), engine: j.options.engine(), method: Ticked}
	if ranged && c.root == nil {
		q.method = Ranged
	}
	for lo := 0; lo < j.program.group.ticks.N; lo += queryTicks {
		if err := q.chunk(ctx, lo, min(lo+queryTicks, j.program.group.ticks.N)); err != nil {
			return nil, err
		}
	}
	return q.result(why), nil
}

// rewritten is the rule's query with stand-ins for its parts.
func (j *job) rewritten(ctx context.Context, c *compiled) (query string, ranged bool, err error) {
	ranged = c.ranged
	names := map[string]string{}
	for _, part := range c.parts {
		v, err := j.vector(ctx, part.node)
		if _, ok := errors.AsType[unsupported](err); ok {
			ranged = ranged && err.Error() != whyHistograms
			continue
		}
		if err != nil {
			return "", false, err
		}
		names[part.query] = strconv.Itoa(j.standIn(v))
	}
	if len(names) == 0 {
		return c.query, ranged, nil
	}
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(c.query)
	if err != nil {
		return "", false, err
	}
	return substitute(expr, names).String(), ranged, nil
}

// standIn shows a vector to the engine, under a number.
func (j *job) standIn(v *vector) int {
	if j.view.stand == nil {
		j.view.stand = map[string][]*samples{}
	}
	ts := make([]int64, j.program.group.ticks.N)
	for i := range ts {
		ts[i] = j.clock.at(i)
	}
	all := make([]*samples, len(v.labels))
	for i, l := range v.labels {
		all[i] = &samples{labels: l, ts: ts, vs: v.cols[i]}
	}
	n := len(j.view.stand)
	j.view.stand[strconv.Itoa(n)] = all
	return n
}

// substitute puts selectors in the place of the expressions that have names.
func substitute(expr parser.Expr, names map[string]string) parser.Expr {
	if name, ok := names[expr.String()]; ok {
		// Not by equality: absent() makes labels of that.
		selector := &parser.VectorSelector{LabelMatchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, standIn, name)}}
		return &parser.ParenExpr{Expr: selector} // a brace after group_left would be read as its labels
	}
	switch e := expr.(type) {
	case *parser.ParenExpr:
		e.Expr = substitute(e.Expr, names)
	case *parser.UnaryExpr:
		e.Expr = substitute(e.Expr, names)
	case *parser.BinaryExpr:
		e.LHS, e.RHS = substitute(e.LHS, names), substitute(e.RHS, names)
	case *parser.AggregateExpr:
		e.Expr = substitute(e.Expr, names)
		if e.Param != nil {
			e.Param = substitute(e.Param, names)
		}
	case *parser.Call:
		for i, arg := range e.Args {
			e.Args[i] = substitute(arg, names)
		}
	}
	return expr
}

// querying evaluates one query at every tick.
type querying struct {
	job       *job
	query     string
	engine    *promql.Engine
	method    Method
	collector *collector
}

// chunk evaluates the ticks from lo to hi: by one range query, or, where that fails, by instant queries, which tell
// the ticks that fail from those that don't.
func (q *querying) chunk(ctx context.Context, lo, hi int) error {
	if q.method == Ranged && q.rangeQuery(ctx, lo, hi) {
		return nil
	}
	instant := rules.EngineQueryFunc(q.engine, q.job.view)
	for tick := lo; tick < hi; tick++ {
		v, err := instant(ctx, q.query, timestamp.Time(q.job.clock.at(tick)))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			q.collector.fail(tick, err)
			continue
		}
		if err := q.vector(tick, v); err != nil {
			q.collector.fail(tick, err)
		}
	}
	return nil
}

var errTwice = errors.New("vector contains metrics with the same labelset")

// vector takes in what a tick yields.
func (q *querying) vector(tick int, v promql.Vector) error {
	if v.ContainsSameLabelset() {
		return errTwice
	}
	q.collector.vector(tick, v)
	return nil
}

func (q *querying) rangeQuery(ctx context.Context, lo, hi int) bool {
	c := q.job.clock
	query, err := q.engine.NewRangeQuery(ctx, q.job.view, nil, q.query, timestamp.Time(c.at(lo)), timestamp.Time(c.at(hi-1)), q.job.program.group.ticks.Interval)
	if err != nil {
		return false
	}
	defer query.Close()
	res := query.Exec(ctx)
	matrix, err := res.Matrix()
	if err != nil {
		return false
	}
	for _, s := range matrix {
		for _, p := range s.Floats {
			q.collector.sample(int((p.T-c.start)/c.step), s.Metric, p.F, nil)
		}
		for _, p := range s.Histograms {
			q.collector.sample(int((p.T-c.start)/c.step), s.Metric, 0, p.H.Copy())
		}
	}
	return true
}

func (q *querying) result(why string) *result {
	res := &result{failures: q.collector.failures, method: q.method, why: why}
	var names []labels.Labels
	cols := [][]float64{}
	hists := []map[int]*histogram.FloatHistogram{}
	for _, col := range q.collector.columns() {
		names, cols, hists = append(names, col.Labels), append(cols, col.Values), append(hists, col.Histograms)
	}
	res.vector = newVector(names, false)
	res.cols, res.histograms = cols, hists
	return res
}
