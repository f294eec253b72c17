package evaluator

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// node is one step of an expression that is evaluated in columns. Equal expressions of a group share one.
type node interface{ node() }

// leaf is a function of one selector, for each series on its own: an instant selector, or a call over a range.
type leaf struct {
	matchers []*labels.Matcher
	function string // empty for an instant selector
	span     int64  // the range, in milliseconds
	offset   int64
	scan     *scan // where its history comes from; nil if it reads recordings
	columns  bool  // whether somebody needs its columns, and not their sums alone
	folds    []*fold
	writers  []*rule // of the group, earlier ones: whose recordings it reads
}

// fold is an aggregation.
type fold struct {
	op      parser.ItemType
	by      []string // sorted
	without bool
	of      node
}

// constant is a vector of one element without labels.
type constant struct{ value float64 }

// scaled is an operation between a vector and a number.
type scaled struct {
	op     parser.ItemType
	vector node
	number float64
	swap   bool // the number stands on the left
	isBool bool
	query  string // the vector, in upstream's spelling
}

// paired is an operation between two vectors.
type paired struct {
	op       parser.ItemType
	lhs, rhs node
	matching *parser.VectorMatching
	isBool   bool
}

// negated is a vector with a minus sign.
type negated struct{ of node }

func (*leaf) node()     {}
func (*fold) node()     {}
func (*constant) node() {}
func (*scaled) node()   {}
func (*paired) node()   {}
func (*negated) node()  {}

// program is what a group's rules have become.
type program struct {
	group *group
	rules []*compiled
	scans []*scan
	nodes map[string]node // by expression
	read  map[*rule]bool  // rules of the group that some rule reads
}

// compiled is a rule in columns; or, where root is nil, a rule for the engine, with the nodes whose columns can
// stand in for a part of its expression.
type compiled struct {
	*rule
	root   node
	why    string // why it needs the engine
	parts  []standable
	ranged bool // whether a range query yields what instant queries do
}

// standable is a part of an expression, in upstream's spelling, that a node computes.
type standable struct {
	query string
	node  node
}

// unsupported says why an expression can't be evaluated in columns.
type unsupported string

func (u unsupported) Error() string { return string(u) }

// compile plans the group's evaluation in columns.
func compile(g *group, all []*group) *program {
	p := &program{group: g, nodes: map[string]node{}, read: readAmong(g, all)}
	for _, r := range g.rules {
		c := &compiled{rule: r}
		root, err := p.node(r.expr)
		if err != nil {
			c.why = err.Error()
			p.standIns(c)
		} else {
			c.root = root
			need(root)
		}
		p.rules = append(p.rules, c)
	}
	p.wire(all)
	return p
}

// need marks the leaves whose columns n reads itself.
func need(n node) {
	switch n := n.(type) {
	case *leaf:
		n.columns = true
	case *fold:
		if _, ok := n.of.(*leaf); !ok {
			need(n.of)
		}
	case *scaled:
		need(n.vector)
	case *negated:
		need(n.of)
	case *paired:
		need(n.lhs)
		need(n.rhs)
	case *constant:
	default:
		panic(unknownNode(n))
	}
}

// node plans one expression, or says why it can't.
func (p *program) node(expr parser.Expr) (node, error) {
	if paren, ok := expr.(*parser.ParenExpr); ok {
		return p.node(paren.Expr)
	}
	key := expr.String()
	if n, ok := p.nodes[key]; ok {
		return n, nil
	}
	n, err := p.build(expr)
	if err != nil {
		return nil, err
	}
	p.nodes[key] = n
	return n, nil
}

func (p *program) build(expr parser.Expr) (node, error) {
	if v, ok := number(expr); ok {
		return &constant{v}, nil
	}
	switch e := expr.(type) {
	case *parser.VectorSelector:
		return selectorLeaf(e, "", 0)
	case *parser.Call:
		return p.call(e)
	case *parser.AggregateExpr:
		return p.fold(e)
	case *parser.BinaryExpr:
		return p.binary(e)
	case *parser.UnaryExpr:
		of, err := p.node(e.Expr)
		if err != nil || e.Op != parser.SUB {
			return of, err
		}
		return &negated{of}, nil
	}
	return nil, unsupported(fmt.Sprintf("%s is not evaluated in columns", parser.DocumentedType(expr.Type())))
}

func selectorLeaf(vs *parser.VectorSelector, function string, span time.Duration) (node, error) {
	switch {
	case fixed(vs.Timestamp, vs.StartOrEnd):
		return nil, unsupported("@ fixes a selector's time")
	case vs.Anchored || vs.Smoothed:
		return nil, unsupported("a selector is anchored or smoothed")
	case vs.OriginalOffsetExpr != nil:
		return nil, unsupported("an offset is an expression")
	}
	return &leaf{
		matchers: vs.LabelMatchers, function: function,
		span: span.Milliseconds(), offset: vs.OriginalOffset.Milliseconds(),
	}, nil
}

func (p *program) call(e *parser.Call) (node, error) {
	name := e.Func.Name
	if name == "vector" {
		if v, ok := number(e.Args[0]); ok {
			return &constant{v}, nil
		}
	}
	if _, ok := kernels[name]; !ok {
		return nil, unsupported(fmt.Sprintf("%s() is not evaluated in columns", name))
	}
	ms, ok := e.Args[0].(*parser.MatrixSelector)
	if !ok || ms.RangeExpr != nil {
		return nil, unsupported(fmt.Sprintf("%s() is not of a plain range selector", name))
	}
	return selectorLeaf(ms.VectorSelector.(*parser.VectorSelector), name, ms.Range)
}

func (p *program) fold(e *parser.AggregateExpr) (node, error) {
	if !slices.Contains(foldable, e.Op) {
		return nil, unsupported(fmt.Sprintf("%s is not evaluated in columns", e.Op))
	}
	of, err := p.node(e.Expr)
	if err != nil {
		return nil, err
	}
	f := &fold{op: e.Op, by: slices.Sorted(slices.Values(e.Grouping)), without: e.Without, of: of}
	if l, ok := of.(*leaf); ok {
		l.folds = append(l.folds, f)
	}
	return f, nil
}

// foldable lists the aggregations that columns know.
var foldable = []parser.ItemType{parser.SUM, parser.COUNT, parser.MIN, parser.MAX, parser.GROUP, parser.AVG}

func (p *program) binary(e *parser.BinaryExpr) (node, error) {
	if e.Op == parser.TRIM_LOWER || e.Op == parser.TRIM_UPPER {
		return nil, unsupported(fmt.Sprintf("%s is not evaluated in columns", e.Op))
	}
	left, leftNumber := number(e.LHS)
	right, rightNumber := number(e.RHS)
	switch {
	case rightNumber:
		v, err := p.vector(e.LHS)
		return &scaled{op: e.Op, vector: v, number: right, isBool: e.ReturnBool, query: e.LHS.String()}, err
	case leftNumber:
		v, err := p.vector(e.RHS)
		return &scaled{op: e.Op, vector: v, number: left, swap: true, isBool: e.ReturnBool, query: e.RHS.String()}, err
	}
	m := e.VectorMatching
	switch {
	case m == nil:
		return nil, unsupported("a number is not a constant")
	case m.FillValues.LHS != nil || m.FillValues.RHS != nil:
		return nil, unsupported("an operation fills in values")
	case m.Card != parser.CardOneToOne && m.Card != parser.CardManyToMany:
		return nil, unsupported("an operation is many-to-one")
	}
	lhs, err := p.vector(e.LHS)
	rhs, err2 := p.vector(e.RHS)
	return &paired{op: e.Op, lhs: lhs, rhs: rhs, matching: m, isBool: e.ReturnBool}, errors.Join(err, err2)
}

// vector plans an expression that must not be a number.
func (p *program) vector(e parser.Expr) (node, error) {
	if e.Type() != parser.ValueTypeVector {
		return nil, unsupported("a number is not a constant")
	}
	return p.node(e)
}

// number is the value of an expression that is one whatever the time.
func number(expr parser.Expr) (float64, bool) {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return number(e.Expr)
	case *parser.NumberLiteral:
		return e.Val, true
	case *parser.UnaryExpr:
		v, ok := number(e.Expr)
		if e.Op == parser.SUB {
			v = -v
		}
		return v, ok
	case *parser.BinaryExpr:
		l, lok := number(e.LHS)
		r, rok := number(e.RHS)
		if !lok || !rok {
			return 0, false
		}
		v, keep := operate(e.Op, l, r)
		if e.Op.IsComparisonOperator() {
			v = indicator(keep)
		}
		return v, true
	}
	return 0, false
}

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// operate computes one operation as upstream does: its value, and whether a comparison keeps it.
func operate(op parser.ItemType, l, r float64) (float64, bool) {
	switch op {
	case parser.ADD:
		return l + r, true
	case parser.SUB:
		return l - r, true
	case parser.MUL:
		return l * r, true
	case parser.DIV:
		return l / r, true
	case parser.POW:
		return math.Pow(l, r), true
	case parser.MOD:
		return math.Mod(l, r), true
	case parser.ATAN2:
		return math.Atan2(l, r), true
	}
	return l, compare(op, l, r)
}

func compare(op parser.ItemType, l, r float64) bool {
	switch op {
	case parser.EQLC:
		return l == r
	case parser.NEQ:
		return l != r
	case parser.GTR:
		return l > r
	case parser.LSS:
		return l < r
	case parser.GTE:
		return l >= r
	case parser.LTE:
		return l <= r
	}
	panic(fmt.Sprintf("evaluator: operator %s", op))
}

// matcherKey spells matchers so that equal sets spell alike.
func matcherKey(matchers []*labels.Matcher) string {
	var all []string
	for _, m := range matchers {
		all = append(all, m.String())
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}
