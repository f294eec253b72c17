package drift

import (
	"math/big"

	"github.com/prometheus/prometheus/promql/parser"
)

// condition is one comparison of an alert, solved for what varies: core op value. One that is not a comparison with
// a constant has an opaque core.
type condition struct {
	core  core
	op    parser.ItemType
	value *big.Rat
	text  string
}

// anyOf is what an alert asks for: all conditions of one of the lists. always stands where nothing is asked, so that
// any sample fires.
type anyOf [][]condition

// Alerts that ask for more than so many combinations are not taken apart.
const maxBranches = 64

// and combines each list with each. Too many of them become one that is opaque.
func (a anyOf) and(b anyOf) anyOf {
	if len(a)*len(b) > maxBranches {
		return anyOf{{{core: core{opaque: true}, text: "more combinations than can be told apart"}}}
	}
	var all anyOf
	for _, left := range a {
		for _, right := range b {
			all = append(all, append(append([]condition(nil), left...), right...))
		}
	}
	return all
}

func (a anyOf) or(b anyOf) anyOf {
	if len(a)+len(b) > maxBranches {
		return anyOf{{{core: core{opaque: true}, text: "more combinations than can be told apart"}}}
	}
	return append(append(anyOf(nil), a...), b...)
}

// conditions takes an alert's expression apart. An empty list among them is met by any sample at all.
func (r terms) conditions(e parser.Expr) anyOf {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return r.conditions(e.Expr)
	case *parser.StepInvariantExpr:
		return r.conditions(e.Expr)
	case *parser.UnaryExpr:
		return r.conditions(e.Expr)
	case *parser.AggregateExpr:
		if e.Op != parser.COUNT_VALUES {
			return r.conditions(e.Expr)
		}
	case *parser.Call:
		if len(e.Args) > 0 && passesThrough(e.Func.Name) {
			return r.conditions(e.Args[0])
		}
	case *parser.BinaryExpr:
		return r.joined(e)
	}
	return r.unread(e)
}

// passesThrough lists functions that give a sample wherever their argument has one.
func passesThrough(function string) bool {
	switch function {
	case "label_replace", "label_join", "sort", "sort_desc", "abs", "round", "ceil", "floor", "clamp", "clamp_max", "clamp_min":
		return true
	}
	return false
}

func (r terms) joined(e *parser.BinaryExpr) anyOf {
	switch {
	case e.Op == parser.LAND:
		return r.conditions(e.LHS).and(r.conditions(e.RHS))
	case e.Op == parser.LOR:
		return r.conditions(e.LHS).or(r.conditions(e.RHS))
	case e.Op == parser.LUNLESS:
		return r.conditions(e.LHS).and(anyOf{{{core: core{opaque: true}, text: "unless " + e.RHS.String()}}})
	case e.Op.IsComparisonOperator() && e.ReturnBool:
		return anyOf{{}} // 0 is a sample too
	case e.Op.IsComparisonOperator():
		return r.comparison(e)
	case filters(e.LHS) && filters(e.RHS):
		return r.conditions(e.LHS).and(r.conditions(e.RHS))
	case filters(e.LHS):
		return r.conditions(e.LHS)
	case filters(e.RHS):
		return r.conditions(e.RHS)
	}
	return r.unread(e)
}

// filters reports whether an expression has samples only where a comparison holds.
func filters(e parser.Expr) bool {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return filters(e.Expr)
	case *parser.AggregateExpr:
		return filters(e.Expr)
	case *parser.BinaryExpr:
		return e.Op.IsComparisonOperator() && !e.ReturnBool || filters(e.LHS) || filters(e.RHS)
	}
	return false
}

// unread is an expression that asks for more than a comparison, or for none.
func (r terms) unread(e parser.Expr) anyOf {
	t := r.value(e)
	if t.truth != nil {
		return anyOf{{}}
	}
	c := opaque(t).core
	return anyOf{{{core: *c, text: e.String()}}}
}

// comparison solves L op R for what varies.
func (r terms) comparison(e *parser.BinaryExpr) anyOf {
	left, right, op := r.value(e.LHS), r.value(e.RHS), e.Op
	if left.isConstant() {
		left, right, op = right, left, mirrored(op)
	}
	if left.truth != nil && right.isConstant() {
		return left.holds(op, right.offset)
	}
	if !right.isConstant() || left.core == nil || left.core.opaque || left.scale.Sign() == 0 {
		return anyOf{{{core: *opaque(left, right).core, text: e.String()}}}
	}
	value := new(big.Rat).Quo(new(big.Rat).Sub(right.offset, left.offset), left.scale)
	if left.scale.Sign() < 0 {
		op = mirrored(op)
	}
	return anyOf{{{core: *left.core, op: op, value: value, text: e.String()}}}
}

// holds is what a comparison of 0 or 1 with a constant asks for.
func (t term) holds(op parser.ItemType, value *big.Rat) anyOf {
	met, unmet := compare(1, op, value), compare(0, op, value)
	switch {
	case met && unmet:
		return anyOf{{}}
	case met:
		return t.truth
	}
	return anyOf{{{core: *opaque(t).core, text: "a comparison that must not hold"}}}
}

func compare(n int64, op parser.ItemType, value *big.Rat) bool {
	order := big.NewRat(n, 1).Cmp(value)
	switch op {
	case parser.GTR:
		return order > 0
	case parser.GTE:
		return order >= 0
	case parser.LSS:
		return order < 0
	case parser.LTE:
		return order <= 0
	case parser.EQLC:
		return order == 0
	}
	return order != 0
}

// mirrored is the comparison read from its other side.
func mirrored(op parser.ItemType) parser.ItemType {
	switch op {
	case parser.GTR:
		return parser.LSS
	case parser.GTE:
		return parser.LTE
	case parser.LSS:
		return parser.GTR
	case parser.LTE:
		return parser.GTE
	}
	return op
}
