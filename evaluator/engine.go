package evaluator

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// Bounds of a query, judged before it runs: each of them stands for a query of under a hundred bytes, or one
// long one, that kills or blocks a process which runs it.
const (
	MaxQueryBytes     = 64 << 10  // parsing is not covered by the query timeout
	MaxQueryNesting   = 500       // open brackets at once
	MaxQueryOperators = 2_000     // operators: each may nest the tree one deeper, and printing it is quadratic in that
	MaxSubqueryPoints = 11_000    // steps of a subquery, those of nested ones multiplied: the API's own bound on range queries
	MaxRangePoints    = 1_100_000 // steps of a subquery over the whole of a range query
	maxLabelGrowth    = 1_000     // how often nested label_replace and label_join may repeat a label's value
)

// EngineOptions adjusts a PromQL engine. The zero value has Prometheus's own defaults.
type EngineOptions struct {
	MaxSamples    int           // samples one query may hold; 50 million if zero
	Timeout       time.Duration // of one query; two minutes if zero
	Lookback      time.Duration // of instant selectors; five minutes if zero
	MaxSubquery   int           // steps of subqueries; zero means no bound
	MaxConcurrent int           // queries at once; 20 if zero
	Logger        *slog.Logger
	Registerer    prometheus.Registerer
}

// Engine is upstream's PromQL engine, which also judges subqueries by the time range they are asked over.
type Engine struct {
	*promql.Engine
	bounded bool
}

// NewEngine makes a PromQL engine with the bounds of o.
func NewEngine(o EngineOptions) *Engine {
	if o.MaxSamples == 0 {
		o.MaxSamples = 50_000_000
	}
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = 20
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	return &Engine{bounded: o.MaxSubquery > 0, Engine: promql.NewEngine(promql.EngineOpts{
		Logger:                   o.Logger,
		Reg:                      o.Registerer,
		MaxSamples:               o.MaxSamples,
		Timeout:                  o.Timeout,
		LookbackDelta:            o.Lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return DefaultInterval.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		ActiveQueryTracker:       make(gate, o.MaxConcurrent),
		Parser:                   newParser(o.MaxSubquery),
	})}
}

// NewRangeQuery implements promql.QueryEngine. The engine steps a subquery through the whole range at once: a
// short one with a short step, which stands no higher than others in the text, is long over a year.
func (e *Engine) NewRangeQuery(ctx context.Context, q storage.Queryable, o promql.QueryOpts, query string, start, end time.Time, step time.Duration) (promql.Query, error) {
	prepared, err := e.Engine.NewRangeQuery(ctx, q, o, query, start, end, step)
	if err != nil || !e.bounded {
		return prepared, err
	}
	if err := judgeSpans(prepared.Statement().(*parser.EvalStmt).Expr, end.Sub(start), MaxRangePoints); err != nil {
		prepared.Close()
		return nil, err
	}
	return prepared, nil
}

// gate lets so many queries of an engine run at once; the others wait. It is the engine's query tracker,
// which in Prometheus also keeps a file of what was running at a crash.
type gate chan struct{}

// GetMaxConcurrent implements promql.QueryTracker.
func (g gate) GetMaxConcurrent() int { return cap(g) }

// Insert implements promql.QueryTracker: it waits for a place.
func (g gate) Insert(ctx context.Context, _ string) (int, error) {
	select {
	case g <- struct{}{}:
		return 0, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for one of %d query places: %w", cap(g), ctx.Err())
	}
}

// Delete implements promql.QueryTracker: it gives the place back.
func (g gate) Delete(int) { <-g }

// Close implements promql.QueryTracker.
func (gate) Close() error { return nil }

// NewParser makes the parser for queries that strangers send: it judges them before they run.
func NewParser() parser.Parser { return newParser(MaxSubqueryPoints) }

func newParser(maxSubquery int) parser.Parser {
	return judge{Parser: parser.NewParser(parser.Options{}), maxSubquery: maxSubquery}
}

// judge refuses queries that would do harm before anything of them is run.
type judge struct {
	parser.Parser
	maxSubquery int
}

// ParseExpr implements parser.Parser.
func (j judge) ParseExpr(query string) (parser.Expr, error) {
	if err := judgeText(query); err != nil {
		return nil, err
	}
	expr, err := j.Parser.ParseExpr(query)
	if err != nil || j.maxSubquery == 0 {
		return expr, err
	}
	for _, err := range []error{
		judgeSteps(expr, 1, int64(j.maxSubquery)), judgeSpans(expr, 0, MaxRangePoints), judgeGrowth(expr, 1),
	} {
		if err != nil {
			return nil, err
		}
	}
	return expr, nil
}

// ParseMetricSelector implements parser.Parser.
func (j judge) ParseMetricSelector(input string) ([]*labels.Matcher, error) {
	if err := judgeText(input); err != nil {
		return nil, err
	}
	return j.Parser.ParseMetricSelector(input)
}

// ParseMetricSelectors implements parser.Parser.
func (j judge) ParseMetricSelectors(inputs []string) ([][]*labels.Matcher, error) {
	for _, input := range inputs {
		if err := judgeText(input); err != nil {
			return nil, err
		}
	}
	return j.Parser.ParseMetricSelectors(inputs)
}

// judgeText reads the query as the parser will, so that brackets in strings and comments count for nothing.
func judgeText(query string) error {
	if len(query) > MaxQueryBytes {
		return fmt.Errorf("query of %d bytes is longer than %d: split it into recording rules", len(query), MaxQueryBytes)
	}
	lexer, depth, operators := parser.Lex(query), 0, 0
	for item := (parser.Item{}); ; {
		lexer.NextItem(&item)
		switch {
		case item.Typ == parser.EOF || item.Typ == parser.ERROR:
			return nil // the parser says what is wrong, and where
		case item.Typ == parser.LEFT_PAREN || item.Typ == parser.LEFT_BRACE || item.Typ == parser.LEFT_BRACKET:
			depth++
		case item.Typ == parser.RIGHT_PAREN || item.Typ == parser.RIGHT_BRACE || item.Typ == parser.RIGHT_BRACKET:
			depth--
		case item.Typ.IsOperator():
			operators++
		}
		if depth > MaxQueryNesting {
			return fmt.Errorf("query nests brackets more than %d deep", MaxQueryNesting)
		}
		if operators > MaxQueryOperators {
			return fmt.Errorf("query has more than %d operators: split it into recording rules", MaxQueryOperators)
		}
	}
}

// judgeSteps walks the tree with the number of steps that the subqueries around a node multiply to.
func judgeSteps(node parser.Node, outer, limit int64) error {
	if sub, ok := node.(*parser.SubqueryExpr); ok {
		outer *= max(1, int64(sub.Range/stepOf(sub)))
		if outer > limit {
			return fmt.Errorf("subquery %s has %d steps, more than %d: write a longer step or a shorter range", brief(sub), outer, limit)
		}
	}
	return eachChild(node, func(child parser.Node) error { return judgeSteps(child, outer, limit) })
}

// judgeSpans walks the tree with the length of time a node is evaluated over: the engine steps a nested subquery
// through all of the one around it, however few steps that one has itself.
func judgeSpans(node parser.Node, span time.Duration, limit int64) error {
	if sub, ok := node.(*parser.SubqueryExpr); ok {
		if sub.Range > maxSpan-span {
			return fmt.Errorf("subquery %s reaches back more than %s", brief(sub), maxSpan)
		}
		span += sub.Range
		if n := int64(span / stepOf(sub)); n > limit {
			return fmt.Errorf("subquery %s has %d steps over the range that is asked for, more than %d: write a longer step or ask for a shorter range", brief(sub), n, limit)
		}
	}
	return eachChild(node, func(child parser.Node) error { return judgeSpans(child, span, limit) })
}

const maxSpan = time.Duration(1<<63 - 1)

func stepOf(sub *parser.SubqueryExpr) time.Duration {
	if sub.Step > 0 {
		return sub.Step
	}
	return DefaultInterval
}

// judgeGrowth walks the tree with the number of copies of a label's value that the calls around a node can make:
// each label_replace whose replacement names its source twice doubles it, and thirty of them fill the memory.
func judgeGrowth(node parser.Node, outer int) error {
	if call, ok := node.(*parser.Call); ok {
		outer *= copies(call)
		if outer > maxLabelGrowth {
			return fmt.Errorf("nested %s could repeat a label's value %d times, more than %d", call.Func.Name, outer, maxLabelGrowth)
		}
	}
	return eachChild(node, func(child parser.Node) error { return judgeGrowth(child, outer) })
}

// copies is how often a call can repeat its source label's value.
func copies(call *parser.Call) int {
	switch call.Func.Name {
	case "label_replace":
		if replacement, ok := call.Args[2].(*parser.StringLiteral); ok {
			return max(1, strings.Count(replacement.Val, "$"))
		}
	case "label_join":
		return max(1, len(call.Args)-3)
	}
	return 1
}

func eachChild(node parser.Node, judge func(parser.Node) error) error {
	for child := range parser.ChildrenIter(node) {
		if err := judge(child); err != nil {
			return err
		}
	}
	return nil
}

// brief prints as much of a subquery as fits a message.
func brief(sub *parser.SubqueryExpr) string {
	if text := []rune(sub.String()); len(text) > 100 {
		return string(text[:99]) + "…"
	}
	return sub.String()
}
