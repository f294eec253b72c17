package contract

import (
	"context"
	"math"
	"strconv"
	"strings"

	tsgo "github.com/microsoft/typescript-go/slowburn"

	"github.com/slowburn/slowburn/slo"
)

// Bounds of one evaluation. Beyond them a value is unresolved, and the finding says so.
const (
	maxDepth = 400
	maxSteps = 20_000
)

// evaluator finds the constant values of expressions. It is good for one declaration: it counts its steps and
// notes them for --explain.
type evaluator struct {
	ctx    context.Context //nolint:containedctx // an evaluator lives as long as the call that made it
	tree   *tree
	depth  int
	steps  int
	trace  []Step
	noted  map[Step]bool
	active map[visit]bool
}

// visit is an export that is being looked up; meeting it again is an import cycle.
type visit struct{ path, name string }

func newEvaluator(ctx context.Context, t *tree) *evaluator {
	return &evaluator{ctx: ctx, tree: t, noted: map[Step]bool{}, active: map[visit]bool{}}
}

// note records a step of the resolution.
func (e *evaluator) note(at place, format string) {
	s := Step{Text: format, Pos: at.position()}
	if len(e.trace) < 64 && !e.noted[s] {
		e.noted[s] = true
		e.trace = append(e.trace, s)
	}
}

// dark is an unknown value with its reason.
func dark(at place, why string) value {
	return value{at: at, why: why, whyAt: at.position()}
}

func darkAt(pos slo.Position, why string) value { return value{why: why, whyAt: pos} }

// eval finds what the expression at p yields.
func (e *evaluator) eval(p place) value {
	if p.node == nil {
		return dark(p, "there is no expression")
	}
	e.steps++
	if e.depth >= maxDepth || e.steps > maxSteps || e.ctx.Err() != nil {
		return dark(p, "it takes too many steps to follow")
	}
	e.depth++
	v := e.evalNode(p)
	e.depth--
	if v.at.node == nil {
		v.at = p
	}
	return v
}

func (e *evaluator) evalNode(p place) value {
	n := p.node
	switch n.Kind {
	case tsgo.KindParenthesizedExpression, tsgo.KindAsExpression, tsgo.KindSatisfiesExpression,
		tsgo.KindTypeAssertionExpression, tsgo.KindNonNullExpression, tsgo.KindExpressionWithTypeArguments, tsgo.KindAwaitExpression:
		return e.eval(p.with(n.Expression()))
	case tsgo.KindStringLiteral, tsgo.KindNoSubstitutionTemplateLiteral:
		return textOf(n.Text())
	case tsgo.KindNumericLiteral:
		return numericLiteral(p)
	case tsgo.KindTrueKeyword, tsgo.KindFalseKeyword:
		return booleanOf(n.Kind == tsgo.KindTrueKeyword)
	case tsgo.KindNullKeyword:
		return value{kind: null}
	case tsgo.KindVoidExpression:
		return undefinedValue()
	case tsgo.KindObjectLiteralExpression:
		return value{kind: object, at: p}
	case tsgo.KindArrayLiteralExpression:
		return e.array(p)
	case tsgo.KindClassExpression, tsgo.KindClassDeclaration:
		return classValue(p)
	case tsgo.KindArrowFunction, tsgo.KindFunctionExpression, tsgo.KindFunctionDeclaration:
		return value{kind: function, at: p, text: nameOf(n)}
	}
	return e.evalOperation(p)
}

func (e *evaluator) evalOperation(p place) value {
	n := p.node
	switch n.Kind {
	case tsgo.KindIdentifier:
		return e.lookup(p, n.Text())
	case tsgo.KindThisKeyword:
		return e.this(p)
	case tsgo.KindTemplateExpression:
		return e.template(p)
	case tsgo.KindPropertyAccessExpression:
		return e.get(e.eval(p.with(n.Expression())), n.Name().Text(), p)
	case tsgo.KindElementAccessExpression:
		return e.element(p)
	case tsgo.KindConditionalExpression:
		return e.conditional(p)
	case tsgo.KindBinaryExpression:
		return e.binary(p)
	case tsgo.KindPrefixUnaryExpression:
		return e.unary(p)
	case tsgo.KindTypeOfExpression:
		return e.typeOf(p)
	case tsgo.KindCallExpression:
		return e.call(p)
	case tsgo.KindNewExpression:
		return e.construct(p)
	case tsgo.KindMetaProperty:
		return value{kind: outside, text: "meta", path: "import.meta"}
	}
	return dark(p, "it is computed at run time")
}

func numericLiteral(p place) value {
	f, err := strconv.ParseFloat(p.node.Text(), 64)
	if err != nil && !math.IsInf(f, 0) {
		return dark(p, "it is not a number that can be read")
	}
	return numberOf(f)
}

func (e *evaluator) template(p place) value {
	t := p.node.AsTemplateExpression()
	whole := textOf(t.Head.Text())
	for _, node := range t.TemplateSpans.Nodes {
		span := node.AsTemplateSpan()
		hole := e.eval(p.with(span.Expression))
		tail := textOf(span.Literal.Text())
		whole = joinText(p, joinText(p, whole, hole), tail)
	}
	return whole
}

// joinText is the text of a followed by that of b.
func joinText(p place, a, b value) value {
	return a.each(func(a value) value {
		return b.each(func(b value) value {
			for _, v := range []value{a, b} {
				if v.kind == unknown {
					return v
				}
				if v.kind == undefined && v.env != "" {
					return darkAt(v.at.position(), "the environment variable "+v.env+" has no default").withEnv(v.env)
				}
			}
			left, ok1 := a.spelled()
			right, ok2 := b.spelled()
			if !ok1 || !ok2 {
				return dark(p, "a part of the text is no plain value")
			}
			return textOf(left+right).withEnv(a.env, b.env)
		})
	})
}

func (e *evaluator) element(p place) value {
	access := p.node.AsElementAccessExpression()
	base := e.eval(p.with(access.Expression))
	key := e.eval(p.with(access.ArgumentExpression))
	return key.each(func(key value) value {
		name, ok := key.spelled()
		if !ok {
			return dark(p, "its key is not constant")
		}
		return e.get(base, name, p).withEnv(key.env)
	})
}

// conditional takes the branch that a known condition takes, and both where it is unknown.
func (e *evaluator) conditional(p place) value {
	c := p.node.AsConditionalExpression()
	condition := e.eval(p.with(c.Condition))
	branch := func(node *tsgo.Node) value { return e.eval(p.with(node)) }
	return condition.each(func(condition value) value {
		yes, known := condition.truth()
		switch {
		case !known:
			return oneOf(branch(c.WhenTrue), branch(c.WhenFalse))
		case yes:
			return branch(c.WhenTrue).withEnv(condition.env)
		default:
			return branch(c.WhenFalse).withEnv(condition.env)
		}
	})
}

func (e *evaluator) typeOf(p place) value {
	v := e.eval(p.with(p.node.Expression()))
	return v.each(func(v value) value {
		names := map[kind]string{undefined: "undefined", null: "object", boolean: "boolean", number: "number", textual: "string",
			object: "object", list: "object", class: "function", function: "function", instance: "object", namespace: "object", module: "object"}
		if name, ok := names[v.kind]; ok {
			return textOf(name).withEnv(v.env)
		}
		return dark(p, "its type is known at run time only")
	})
}

func (e *evaluator) array(p place) value {
	v := value{kind: list, at: p}
	for _, node := range p.node.Elements() {
		switch node.Kind {
		case tsgo.KindSpreadElement:
			spread := e.eval(p.with(node.Expression()))
			if spread.kind != list {
				return dark(p.with(node), "what is spread into the list is not a constant list")
			}
			v.items = append(v.items, spread.items...)
		case tsgo.KindOmittedExpression:
			v.items = append(v.items, undefinedValue())
		default:
			v.items = append(v.items, e.eval(p.with(node)))
		}
	}
	return v
}

// this is the instance around p, or the class where p stands in something static.
func (e *evaluator) this(p place) value {
	for n := p.node.Parent; n != nil; n = n.Parent {
		switch n.Kind {
		case tsgo.KindFunctionDeclaration, tsgo.KindFunctionExpression:
			return dark(p, "this is known at run time only")
		case tsgo.KindMethodDeclaration, tsgo.KindGetAccessor, tsgo.KindSetAccessor, tsgo.KindPropertyDeclaration,
			tsgo.KindConstructor, tsgo.KindClassStaticBlockDeclaration:
			if n.Parent.Kind != tsgo.KindClassDeclaration && n.Parent.Kind != tsgo.KindClassExpression {
				return dark(p, "this is known at run time only")
			}
			if tsgo.IsStatic(n) {
				return classValue(p.with(n.Parent))
			}
			return value{kind: instance, at: p.with(n.Parent)}
		}
	}
	return dark(p, "this is known at run time only")
}

func classValue(p place) value { return value{kind: class, at: p, text: nameOf(p.node)} }

// nameOf is the plain name of a declaration, or nothing.
func nameOf(n *tsgo.Node) string {
	name := n.Name()
	if name == nil {
		return ""
	}
	switch name.Kind {
	case tsgo.KindIdentifier, tsgo.KindPrivateIdentifier, tsgo.KindStringLiteral, tsgo.KindNumericLiteral, tsgo.KindNoSubstitutionTemplateLiteral:
		return strings.TrimSpace(name.Text())
	}
	return ""
}
