package rulegen

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// selector is a metric name with its matchers, kept apart so that matchers can be added.
type selector struct {
	metric   string
	matchers []*labels.Matcher
}

// parseSelector reads an instant vector selector that names one metric.
func parseSelector(text string) (selector, error) {
	matchers, err := promqlParser().ParseMetricSelector(text)
	if err != nil {
		return selector{}, fmt.Errorf("selector %q: %w", text, err)
	}
	s := selector{}
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel {
			if m.Type != labels.MatchEqual {
				return selector{}, fmt.Errorf("selector %q matches several metrics: name one", text)
			}
			s.metric = m.Value
			continue
		}
		s.matchers = append(s.matchers, m)
	}
	if s.metric == "" {
		return selector{}, fmt.Errorf("selector %q names no metric", text)
	}
	return s, nil
}

// with adds name="value", unless the selector already says something of that label.
func (s selector) with(name, value string) selector {
	if name == "" || s.names(name) {
		return s
	}
	return s.matching(labels.MatchEqual, name, value)
}

func (s selector) names(label string) bool {
	return slices.ContainsFunc(s.matchers, func(m *labels.Matcher) bool { return m.Name == label })
}

// matching adds one more matcher.
func (s selector) matching(t labels.MatchType, name, value string) selector {
	s.matchers = append(slices.Clone(s.matchers), labels.MustNewMatcher(t, name, value))
	return s
}

// named is the same selection of another metric.
func (s selector) named(metric string) selector {
	s.metric = metric
	return s
}

// vector is the selector as an expression; matchers are sorted, so that the same contract gives the same text.
func (s selector) vector() *parser.VectorSelector {
	matchers := slices.Clone(s.matchers)
	slices.SortStableFunc(matchers, func(a, b *labels.Matcher) int { return strings.Compare(a.Name, b.Name) })
	matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, s.metric))
	return &parser.VectorSelector{Name: s.metric, LabelMatchers: matchers}
}

func (s selector) String() string { return s.vector().String() }

func rangeCall(function string, s selector, w time.Duration) parser.Expr {
	return call(function, &parser.MatrixSelector{VectorSelector: s.vector(), Range: w})
}

func sumOverTime(s selector, w time.Duration) parser.Expr { return rangeCall("sum_over_time", s, w) }

func call(function string, args ...parser.Expr) parser.Expr {
	return &parser.Call{Func: parser.MustGetFunction(function), Args: args}
}

// sumBy is sum by (label) (e), or sum(e) without a label.
func sumBy(label string, e parser.Expr) parser.Expr {
	sum := &parser.AggregateExpr{Op: parser.SUM, Expr: e}
	if label != "" {
		sum.Grouping = []string{label}
	}
	return sum
}

func binary(op parser.ItemType, left, right parser.Expr) parser.Expr {
	b := &parser.BinaryExpr{Op: op, LHS: left, RHS: right}
	if left.Type() == parser.ValueTypeVector && right.Type() == parser.ValueTypeVector {
		b.VectorMatching = &parser.VectorMatching{Card: parser.CardOneToOne}
		if op.IsSetOperator() {
			b.VectorMatching.Card = parser.CardManyToMany
		}
	}
	return b
}

func paren(e parser.Expr) parser.Expr { return &parser.ParenExpr{Expr: e} }

func number(f float64) parser.Expr { return &parser.NumberLiteral{Val: f} }

// lineWidth is where render starts to break lines.
const lineWidth = 100

// render prints an expression as people write rules: a long one is broken before the operators of its left
// spine. No line starts with a blank, which YAML block scalars would need an indicator for.
func render(e parser.Expr) string {
	text := e.String()
	b, ok := e.(*parser.BinaryExpr)
	if !ok || len(text) <= lineWidth {
		return text
	}
	return render(b.LHS) + "\n" + strings.TrimPrefix(text, b.LHS.String()+" ")
}

func sortedUnique(windows []time.Duration) []time.Duration {
	slices.Sort(windows)
	return slices.Compact(windows)
}
