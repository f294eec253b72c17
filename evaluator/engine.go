package evaluator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// Bounds of a query, judged before it runs: each of them stands for a query of under a hundred bytes, or one
// long one, that kills or blocks a process which runs it.
const (
	MaxQueryBytes     = 64 << 10 // parsing is not covered by the query timeout
	MaxQueryNesting   = 500      // open brackets at once
	MaxSubqueryPoints = 11_000   // steps of a subquery, those of nested ones multiplied: the API's own bound on range queries
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

// NewEngine makes a PromQL engine with the bounds of o.
func NewEngine(o EngineOptions) *promql.Engine {
	if o.MaxSamples == 0 {
		o.MaxSamples = 50_000_000
	}
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = 20
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Minute
	}
	return promql.NewEngine(promql.EngineOpts{
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
	})
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
	return expr, judgeSubqueries(expr, 1, j.maxSubquery)
}

// ParseMetricSelector implements parser.Parser.
func (j judge) ParseMetricSelector(input string) (m []*labels.Matcher, err error) {
	if err := judgeText(input); err != nil {
		return nil, err
	}
	return j.Parser.ParseMetricSelector(input)
}

func judgeText(query string) error {
	if len(query) > MaxQueryBytes {
		return fmt.Errorf("query of %d bytes is longer than %d: split it into recording rules", len(query), MaxQueryBytes)
	}
	depth := 0
	for _, c := range query {
		if strings.ContainsRune("([{", c) {
			depth++
		}
		if strings.ContainsRune(")]}", c) {
			depth--
		}
		if depth > MaxQueryNesting {
			return fmt.Errorf("query nests brackets more than %d deep", MaxQueryNesting)
		}
	}
	return nil
}

// judgeSubqueries walks the tree with the number of steps that the subqueries around a node multiply to.
func judgeSubqueries(node parser.Node, outer int64, limit int) error {
	if sub, ok := node.(*parser.SubqueryExpr); ok {
		step := sub.Step
		if step <= 0 {
			step = DefaultInterval
		}
		outer *= max(1, int64(sub.Range/step))
		if outer > int64(limit) {
			return fmt.Errorf("subquery %s has %d steps, more than %d: write a longer step or a shorter range", sub, outer, limit)
		}
	}
	var faults []error
	for child := range parser.ChildrenIter(node) {
		faults = append(faults, judgeSubqueries(child, outer, limit))
	}
	return errors.Join(faults...)
}
