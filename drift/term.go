package drift

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// term is an expression read as scale × core + offset, in decimal. A nil core is a constant. truth is set where the
// expression is a comparison that answers 0 or 1 (PromQL's bool).
type term struct {
	scale, offset *big.Rat
	core          *core
	truth         anyOf
}

// core is what varies in an expression: series divided by series, or series alone. One whose shape is none of these
// is opaque; it still says what it reads.
type core struct {
	num, den []use
	opaque   bool
	counts   bool // how many samples there are, whatever they say
}

// use is one reading of a series.
type use struct {
	metric   string
	matchers []*labels.Matcher
	function string        // rate, increase, histogram_fraction(0,0.3); empty for the series itself
	window   time.Duration // zero for an instant
	minus    bool
}

func constant(r *big.Rat) term { return term{scale: new(big.Rat), offset: r} }

func (t term) isConstant() bool { return t.core == nil && t.truth == nil }

// bare reports a term that is its core times a number.
func (t term) bare() bool { return t.core != nil && !t.core.opaque && t.offset.Sign() == 0 }

// opaque keeps what terms read, and gives up what they say.
func opaque(terms ...term) term {
	c := &core{opaque: true}
	for _, t := range terms {
		if t.core != nil {
			c.num = append(append(c.num, t.core.num...), t.core.den...)
		}
	}
	return term{scale: big.NewRat(1, 1), offset: new(big.Rat), core: c}
}

func flow(uses ...use) term {
	return term{scale: big.NewRat(1, 1), offset: new(big.Rat), core: &core{num: uses}}
}

// rational is the number that a person sees when f is printed in its shortest form.
func rational(f float64) (*big.Rat, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, false
	}
	return new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
}

// terms reads the values of expressions, with recordings followed to what they record.
type terms struct {
	recordings func(*parser.VectorSelector) []recording // that a selector may mean
	depth      int                                      // recordings within recordings
}

// Recordings of recordings are followed so far.
const maxHops = 8

func (r terms) value(e parser.Expr) term {
	switch e := e.(type) {
	case *parser.NumberLiteral:
		if n, ok := rational(e.Val); ok {
			return constant(n)
		}
	case *parser.ParenExpr:
		return r.value(e.Expr)
	case *parser.StepInvariantExpr:
		return r.value(e.Expr)
	case *parser.UnaryExpr:
		if e.Op == parser.SUB {
			return r.value(e.Expr).times(big.NewRat(-1, 1))
		}
		return r.value(e.Expr)
	case *parser.VectorSelector:
		return r.selected(e, "", 0)
	case *parser.MatrixSelector:
		return r.selected(e.VectorSelector.(*parser.VectorSelector), "", e.Range)
	case *parser.SubqueryExpr:
		return r.value(e.Expr).over("", e.Range)
	case *parser.AggregateExpr:
		return r.aggregated(e)
	case *parser.Call:
		return r.called(e)
	case *parser.BinaryExpr:
		return r.combined(e)
	}
	return opaque()
}

// selected follows a recording, or is the series itself.
func (r terms) selected(s *parser.VectorSelector, function string, window time.Duration) term {
	found := r.recordings(s)
	if len(found) == 0 || r.depth >= maxHops {
		return flow(use{metric: s.Name, matchers: withoutName(s.LabelMatchers), function: function, window: window})
	}
	next := terms{recordings: r.recordings, depth: r.depth + 1}
	first := next.value(found[0].expr)
	for _, other := range found[1:] {
		if !first.equal(next.value(other.expr)) {
			return opaque(first)
		}
	}
	return first.narrowed(found[0].beyond(s)).over(function, window)
}

// narrowed adds matchers that the recording's own labels do not answer.
func (t term) narrowed(by []*labels.Matcher) term {
	if len(by) == 0 || t.core == nil {
		return t
	}
	return t.mapped(func(u use) use {
		u.matchers = append(slices.Clone(u.matchers), by...)
		return u
	})
}

// over is the term seen through a longer window.
func (t term) over(function string, window time.Duration) term {
	if t.core == nil || window == 0 && function == "" {
		return t
	}
	return t.mapped(func(u use) use {
		if window != 0 {
			u.window = window
		}
		if u.function == "" {
			u.function = function
		}
		return u
	})
}

func (t term) mapped(f func(use) use) term {
	c := *t.core
	c.num, c.den = nil, nil
	for _, u := range t.core.num {
		c.num = append(c.num, f(u))
	}
	for _, u := range t.core.den {
		c.den = append(c.den, f(u))
	}
	t.core = &c
	return t
}

func (t term) times(n *big.Rat) term {
	return term{scale: new(big.Rat).Mul(t.scale, n), offset: new(big.Rat).Mul(t.offset, n), core: t.core}
}

func (t term) plus(n *big.Rat) term {
	return term{scale: t.scale, offset: new(big.Rat).Add(t.offset, n), core: t.core}
}

func (r terms) aggregated(e *parser.AggregateExpr) term {
	inner := r.value(e.Expr)
	switch e.Op {
	case parser.SUM:
		if inner.core != nil && inner.offset.Sign() == 0 {
			return inner
		}
	case parser.MAX, parser.MIN, parser.AVG, parser.TOPK, parser.BOTTOMK:
		return inner
	}
	return opaque(inner)
}

func (r terms) called(e *parser.Call) term {
	switch name := e.Func.Name; name {
	case "rate", "increase", "irate", "delta", "idelta":
		return r.value(e.Args[0]).over(name, 0)
	case "avg_over_time", "sum_over_time", "max_over_time", "min_over_time", "last_over_time", "vector", "scalar",
		"clamp_max", "clamp_min", "sort", "sort_desc", "label_replace", "label_join", "histogram_count", "round":
		return r.value(e.Args[0])
	case "count_over_time":
		t := opaque(r.value(e.Args[0]))
		t.core.counts = true
		return t
	case "histogram_fraction":
		low, high, inner := r.value(e.Args[0]), r.value(e.Args[1]), r.value(e.Args[2])
		if low.isConstant() && high.isConstant() && inner.bare() {
			return inner.mapped(func(u use) use {
				u.function = "histogram_fraction(" + decimal(low.offset) + "," + decimal(high.offset) + ")"
				return u
			})
		}
		return opaque(inner)
	}
	var args []term
	for _, a := range e.Args {
		args = append(args, r.value(a))
	}
	return opaque(args...)
}

func (r terms) combined(e *parser.BinaryExpr) term {
	if e.Op.IsComparisonOperator() {
		return r.compared(e)
	}
	left, right := r.value(e.LHS), r.value(e.RHS)
	switch e.Op {
	case parser.LAND, parser.LUNLESS:
		return left
	case parser.LOR:
		if right.core == nil || right.scale.Sign() == 0 || left.equal(right) {
			return left // the rest fills in for series that are not there
		}
	case parser.ADD:
		return left.sum(right)
	case parser.SUB:
		return left.sum(right.times(big.NewRat(-1, 1)))
	case parser.MUL:
		return left.product(right)
	case parser.DIV:
		return left.quotient(right)
	case parser.POW:
		if left.isConstant() && right.isConstant() {
			if n, ok := rational(math.Pow(float(left.offset), float(right.offset))); ok {
				return constant(n)
			}
		}
	}
	return opaque(left, right)
}

// compared is the value of a comparison: 0 or 1 with bool, else what passes the filter.
func (r terms) compared(e *parser.BinaryExpr) term {
	if e.ReturnBool {
		t := opaque(r.value(e.LHS), r.value(e.RHS))
		t.truth = r.comparison(e)
		return t
	}
	if left := r.value(e.LHS); !left.isConstant() {
		return left
	}
	return r.value(e.RHS)
}

func (t term) sum(o term) term {
	switch {
	case o.core == nil:
		return t.plus(o.offset)
	case t.core == nil:
		return o.plus(t.offset)
	case t.core.equal(*o.core):
		return term{scale: new(big.Rat).Add(t.scale, o.scale), offset: new(big.Rat).Add(t.offset, o.offset), core: t.core}
	}
	sameSize := new(big.Rat).Abs(t.scale).Cmp(new(big.Rat).Abs(o.scale)) == 0
	if t.core.opaque || o.core.opaque || !sameSize || !slices.EqualFunc(t.core.den, o.core.den, use.equal) {
		return opaque(t, o)
	}
	uses := slices.Clone(t.core.num)
	for _, u := range o.core.num {
		u.minus = u.minus != (t.scale.Sign() != o.scale.Sign())
		uses = append(uses, u)
	}
	return term{scale: t.scale, offset: new(big.Rat).Add(t.offset, o.offset), core: &core{num: uses, den: t.core.den}}
}

func (t term) product(o term) term {
	switch {
	case t.truth != nil && o.truth != nil:
		both := opaque(t, o)
		both.truth = t.truth.and(o.truth)
		return both
	case o.isConstant():
		return t.times(o.offset)
	case t.isConstant():
		return o.times(t.offset)
	}
	return opaque(t, o)
}

func (t term) quotient(o term) term {
	switch {
	case o.isConstant():
		if o.offset.Sign() == 0 {
			return opaque(t)
		}
		return t.times(new(big.Rat).Inv(o.offset))
	case t.core != nil && o.core != nil && o.core.counts:
		return t // a sum over a count is an average
	case t.bare() && o.bare() && len(t.core.den) == 0 && len(o.core.den) == 0 && o.scale.Sign() != 0:
		return term{scale: new(big.Rat).Quo(t.scale, o.scale), offset: new(big.Rat), core: &core{num: t.core.num, den: o.core.num}}
	}
	return opaque(t, o)
}

func (t term) equal(o term) bool {
	if (t.core == nil) != (o.core == nil) || t.scale.Cmp(o.scale) != 0 || t.offset.Cmp(o.offset) != 0 {
		return false
	}
	return t.core == nil || t.core.equal(*o.core)
}

func (c core) equal(o core) bool {
	return c.opaque == o.opaque && sameUses(c.num, o.num) && sameUses(c.den, o.den)
}

// sameUses compares in any order.
func sameUses(a, b []use) bool {
	if len(a) != len(b) {
		return false
	}
	rest := slices.Clone(b)
	for _, u := range a {
		i := slices.IndexFunc(rest, u.equal)
		if i < 0 {
			return false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return true
}

func (u use) equal(o use) bool {
	return u.metric == o.metric && u.function == o.function && u.window == o.window && u.minus == o.minus && sameMatchers(u.matchers, o.matchers)
}

func withoutName(matchers []*labels.Matcher) []*labels.Matcher {
	var rest []*labels.Matcher
	for _, m := range matchers {
		if m.Name != labels.MetricName {
			rest = append(rest, m)
		}
	}
	return rest
}

func float(r *big.Rat) float64 {
	f, _ := r.Float64()
	return f
}

// decimal prints a number without the noise of binary fractions, which others' generators write out.
func decimal(r *big.Rat) string {
	text := strconv.FormatFloat(float(r), 'g', 12, 64)
	if strings.ContainsRune(text, 'e') {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return text
		}
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return text
}
