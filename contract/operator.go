package contract

import (
	"math"
	"strconv"
	"strings"

	tsgo "github.com/microsoft/typescript-go/slowburn"
)

// binary evaluates an operator with two operands.
func (e *evaluator) binary(p place) value {
	b := p.node.AsBinaryExpression()
	left, right := p.with(b.Left), p.with(b.Right)
	switch op := b.OperatorToken.Kind; op {
	case tsgo.KindBarBarToken, tsgo.KindAmpersandAmpersandToken, tsgo.KindQuestionQuestionToken:
		return e.shortCircuit(op, e.eval(left), right)
	case tsgo.KindCommaToken:
		return e.eval(right)
	default:
		if tsgo.IsAssignment(op) {
			return dark(p, "it is assigned at run time")
		}
		l, r := e.eval(left), e.eval(right)
		return l.each(func(l value) value {
			return r.each(func(r value) value { return operate(p, op, l, r) })
		})
	}
}

func (e *evaluator) shortCircuit(op tsgo.Kind, left value, right place) value {
	return left.each(func(left value) value {
		if op == tsgo.KindQuestionQuestionToken {
			switch {
			case left.isNullish():
				return e.eval(right).withEnv(left.env)
			case left.kind == unknown || left.kind == outside:
				return dark(left.at, "its left side is known at run time only")
			}
			return left
		}
		yes, known := left.truth()
		switch {
		case !known && op == tsgo.KindAmpersandAmpersandToken:
			// Either something false, or the right side: a spread of both is well defined.
			return oneOf(value{falsy: true, why: "it depends on a condition known at run time", whyAt: left.at.position(), at: left.at}, e.eval(right))
		case !known:
			return dark(left.at, "its left side is known at run time only")
		case yes == (op == tsgo.KindBarBarToken):
			return left
		}
		return e.eval(right).withEnv(left.env)
	})
}

// operate applies an operator whose operands have no alternatives.
func operate(p place, op tsgo.Kind, l, r value) value {
	switch op {
	case tsgo.KindEqualsEqualsToken, tsgo.KindEqualsEqualsEqualsToken:
		return equality(p, l, r, op == tsgo.KindEqualsEqualsToken, true)
	case tsgo.KindExclamationEqualsToken, tsgo.KindExclamationEqualsEqualsToken:
		return equality(p, l, r, op == tsgo.KindExclamationEqualsToken, false)
	case tsgo.KindPlusToken:
		if l.kind == textual || r.kind == textual {
			return joinText(p, l, r)
		}
	}
	for _, v := range []value{l, r} {
		if v.kind == unknown {
			return v
		}
	}
	a, ok1 := toNumber(l)
	b, ok2 := toNumber(r)
	if !ok1 || !ok2 {
		return dark(p, "its operands are no constant numbers")
	}
	return arithmetic(p, op, a, b, l, r).withEnv(l.env, r.env)
}

func arithmetic(p place, op tsgo.Kind, a, b float64, l, r value) value {
	switch op {
	case tsgo.KindPlusToken:
		return numberOf(a + b)
	case tsgo.KindMinusToken:
		return numberOf(a - b)
	case tsgo.KindAsteriskToken:
		return numberOf(a * b)
	case tsgo.KindSlashToken:
		return numberOf(a / b)
	case tsgo.KindPercentToken:
		return numberOf(math.Mod(a, b))
	case tsgo.KindAsteriskAsteriskToken:
		return numberOf(math.Pow(a, b))
	case tsgo.KindAmpersandToken:
		return numberOf(float64(toInt32(a) & toInt32(b)))
	case tsgo.KindBarToken:
		return numberOf(float64(toInt32(a) | toInt32(b)))
	case tsgo.KindCaretToken:
		return numberOf(float64(toInt32(a) ^ toInt32(b)))
	case tsgo.KindLessThanLessThanToken:
		return numberOf(float64(toInt32(a) << (uint32(toInt32(b)) & 31)))
	case tsgo.KindGreaterThanGreaterThanToken:
		return numberOf(float64(toInt32(a) >> (uint32(toInt32(b)) & 31)))
	case tsgo.KindGreaterThanGreaterThanGreaterThanToken:
		return numberOf(float64(uint32(toInt32(a)) >> (uint32(toInt32(b)) & 31)))
	}
	return comparison(p, op, a, b, l, r)
}

func comparison(p place, op tsgo.Kind, a, b float64, l, r value) value {
	order := 0
	switch {
	case l.kind == textual && r.kind == textual:
		order = strings.Compare(l.text, r.text)
	case math.IsNaN(a) || math.IsNaN(b):
		return booleanOf(false)
	case a < b:
		order = -1
	case a > b:
		order = 1
	}
	switch op {
	case tsgo.KindLessThanToken:
		return booleanOf(order < 0)
	case tsgo.KindGreaterThanToken:
		return booleanOf(order > 0)
	case tsgo.KindLessThanEqualsToken:
		return booleanOf(order <= 0)
	case tsgo.KindGreaterThanEqualsToken:
		return booleanOf(order >= 0)
	}
	return dark(p, "the operator is not one of constant arithmetic")
}

// equality compares plain values. An environment variable without a default equals nothing that is known:
// whether NODE_ENV is 'production' can't be told from the sources. Whether it is set can: it is not.
func equality(p place, l, r value, loose, want bool) value {
	for _, v := range []value{l, r} {
		if v.kind == unknown {
			return dark(p, "it is compared with what is known at run time only")
		}
	}
	if (l.kind == undefined && l.env != "" && !r.isNullish()) || (r.kind == undefined && r.env != "" && !l.isNullish()) {
		return dark(p, "it depends on the environment variable "+l.env+r.env)
	}
	if loose && l.isNullish() && r.isNullish() {
		return booleanOf(want).withEnv(l.env, r.env)
	}
	if _, ok := l.spelled(); ok && loose && l.kind != r.kind && !l.isNullish() && !r.isNullish() {
		a, ok1 := toNumber(l)
		b, ok2 := toNumber(r)
		if !ok1 || !ok2 {
			return dark(p, "it compares what is no plain value")
		}
		return booleanOf((a == b) == want).withEnv(l.env, r.env)
	}
	for _, v := range []value{l, r} {
		if v.kind == outside {
			return dark(p, "it compares what is known at run time only")
		}
	}
	return booleanOf(l.same(r) == want).withEnv(l.env, r.env)
}

// toNumber is JavaScript's Number(v) of a plain value.
func toNumber(v value) (float64, bool) {
	switch v.kind {
	case undefined:
		return math.NaN(), true
	case null:
		return 0, true
	case boolean:
		if v.yes {
			return 1, true
		}
		return 0, true
	case number:
		return v.num, true
	case textual:
		return textToNumber(v.text), true
	}
	return 0, false
}

func textToNumber(s string) float64 {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0
	}
	if n, err := strconv.ParseUint(s, 0, 64); err == nil && len(s) > 1 && s[0] == '0' && strings.ContainsAny(s[1:2], "xXoObB") {
		return float64(n)
	}
	switch s {
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	if strings.Trim(s, "0123456789.eE+-") != "" {
		return math.NaN()
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return math.NaN()
	}
	return f
}

// numberPrefix is what parseFloat and parseInt read: as much of the text as is a number.
func numberPrefix(s string, integer bool) float64 {
	s = strings.TrimSpace(s)
	for end := min(len(s), 64); end > 0; end-- {
		part := s[:end]
		if strings.Trim(part, "0123456789.eE+-") != "" || integer && strings.Trim(part, "0123456789+-") != "" {
			continue
		}
		if f, err := strconv.ParseFloat(part, 64); err == nil {
			return f
		}
	}
	return math.NaN()
}

func toInt32(f float64) int32 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return int32(uint32(int64(math.Mod(math.Trunc(f), 1<<32))))
}

func (e *evaluator) unary(p place) value {
	u := p.node.AsPrefixUnaryExpression()
	return e.eval(p.with(u.Operand)).each(func(v value) value {
		if u.Operator == tsgo.KindExclamationToken {
			yes, known := v.truth()
			if !known {
				return dark(p, "its condition is known at run time only")
			}
			return booleanOf(!yes).withEnv(v.env)
		}
		if v.kind == unknown {
			return v
		}
		f, ok := toNumber(v)
		if !ok {
			return dark(p, "its operand is no constant number")
		}
		switch u.Operator {
		case tsgo.KindPlusToken:
			return numberOf(f).withEnv(v.env)
		case tsgo.KindMinusToken:
			return numberOf(-f).withEnv(v.env)
		case tsgo.KindTildeToken:
			return numberOf(float64(^toInt32(f))).withEnv(v.env)
		}
		return dark(p, "it is counted up or down at run time")
	})
}
