package evaluator

import (
	"regexp"
	"slices"

	"github.com/prometheus/prometheus/promql/parser"
)

// separable reports whether the component yields, for each value of the label, what it would yield if the history
// held that value alone.
func separable(c *component, label string) bool {
	for _, u := range c.units {
		if u.why != "" {
			c.whole = u.why
			return false
		}
		for _, g := range u.groups {
			for _, r := range g.rules {
				if why := r.mixes(label); why != "" {
					c.whole = why
					return false
				}
			}
		}
	}
	return true
}

// mixes says why the rule can't be cut by the label; empty if it can.
func (r *rule) mixes(label string) string {
	switch {
	case r.group.limit > 0:
		return "the group has a limit"
	case r.labels.Has(label):
		return "a rule sets the label " + label
	case !apart(r.expr, label):
		return "rule " + r.name + " mixes values of the label " + label
	}
	return ""
}

// unmixing lists the functions of a vector that treat each of its series on its own and leave its labels alone.
var unmixing = []string{
	"abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "clamp", "clamp_max", "clamp_min", "cos", "cosh",
	"deg", "exp", "floor", "ln", "log10", "log2", "rad", "round", "sgn", "sin", "sinh", "sqrt", "tan", "tanh",
	"histogram_avg", "histogram_count", "histogram_fraction", "histogram_quantile", "histogram_stddev",
	"histogram_stdvar", "histogram_sum", "timestamp", "deriv", "predict_linear", "quantile_over_time",
	"stddev_over_time", "stdvar_over_time",
}

// apart reports whether the expression keeps the values of the label apart. An expression without the label at all,
// such as a number, does not: each part would yield it again.
func apart(expr parser.Expr, label string) bool {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return apart(e.Expr, label)
	case *parser.UnaryExpr:
		return apart(e.Expr, label)
	case *parser.VectorSelector:
		return true
	case *parser.MatrixSelector:
		return true
	case *parser.SubqueryExpr:
		return apart(e.Expr, label)
	case *parser.AggregateExpr:
		return slices.Contains(e.Grouping, label) != e.Without && plainParam(e) && apart(e.Expr, label)
	case *parser.Call:
		return callApart(e, label)
	case *parser.BinaryExpr:
		return binaryApart(e, label)
	}
	return false
}

func plainParam(e *parser.AggregateExpr) bool {
	if e.Param == nil {
		return true
	}
	_, ok := number(e.Param)
	return ok
}

func callApart(e *parser.Call, label string) bool {
	_, kernel := kernels[e.Func.Name]
	if !kernel && !slices.Contains(unmixing, e.Func.Name) || label == "le" {
		return false
	}
	vector := false
	for _, arg := range e.Args {
		if _, ok := number(arg); ok {
			continue
		}
		if !apart(arg, label) {
			return false
		}
		vector = true
	}
	return vector
}

func binaryApart(e *parser.BinaryExpr, label string) bool {
	_, left := number(e.LHS)
	_, right := number(e.RHS)
	switch {
	case left && right:
		return false
	case left:
		return apart(e.RHS, label)
	case right:
		return apart(e.LHS, label)
	}
	m := e.VectorMatching
	return m != nil && slices.Contains(m.MatchingLabels, label) == m.On && !slices.Contains(m.Include, label) &&
		apart(e.LHS, label) && apart(e.RHS, label)
}

func quoted(values []string) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = regexp.QuoteMeta(v)
	}
	return all
}
