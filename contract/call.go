package contract

import (
	"math"
	"strconv"
	"strings"

	tsgo "github.com/microsoft/typescript-go/slowburn"
)

// call evaluates the few functions whose result is constant where their arguments are.
func (e *evaluator) call(p place) value {
	callee := p.node.Expression()
	args := p.node.Arguments()
	if callee.Kind == tsgo.KindImportKeyword {
		return e.requireCall(p, args, true)
	}
	callee = unwrap(callee)
	if callee.Kind == tsgo.KindPropertyAccessExpression {
		if v, ok := e.method(p, callee, args); ok {
			return v
		}
	}
	f := e.eval(p.with(callee))
	if f.kind == function {
		return dark(p, "the function "+f.text+" returns it at run time")
	}
	if f.kind != outside {
		return dark(p, "a call returns it at run time")
	}
	if f.path == "require" {
		return e.requireCall(p, args, false)
	}
	return e.global(p, f.path, args)
}

func (e *evaluator) requireCall(p place, args []*tsgo.Node, dynamic bool) value {
	if len(args) == 0 {
		return dark(p, "it requires nothing")
	}
	spec := e.eval(p.with(args[0]))
	if spec.kind != textual {
		return dark(p, "the module it requires is not constant")
	}
	if dynamic {
		return e.imported(p, spec.text, "*")
	}
	return e.required(p, spec.text)
}

// global calls a function of the language.
func (e *evaluator) global(p place, name string, args []*tsgo.Node) value {
	var first value
	if len(args) > 0 {
		first = e.eval(p.with(args[0]))
	}
	switch name {
	case "Object.freeze", "Object.seal", "Object.preventExtensions", "structuredClone", "Boolean":
		if name == "Boolean" {
			yes, known := first.truth()
			if !known {
				return dark(p, "its condition is known at run time only")
			}
			return booleanOf(yes).withEnv(first.env)
		}
		return first
	case "Object.assign":
		return e.assign(p, args)
	case "Deno.env.get":
		if first.kind == textual {
			return undefinedValue().withEnv(first.text)
		}
	}
	return first.each(func(first value) value { return e.globalOf(p, name, first, args) })
}

func (e *evaluator) globalOf(p place, name string, first value, args []*tsgo.Node) value {
	if first.kind == unknown && first.why != "" {
		return first
	}
	if name == "String" {
		return joinText(p, first, textOf(""))
	}
	f, plain := toNumber(first)
	spelled, _ := first.spelled()
	if !plain || len(args) == 0 {
		return dark(p, "the call of "+name+" returns it at run time")
	}
	switch name {
	case "Number":
		return numberOf(f).withEnv(first.env)
	case "parseFloat", "Number.parseFloat":
		return numberOf(numberPrefix(spelled, false)).withEnv(first.env)
	case "parseInt", "Number.parseInt":
		if len(args) > 1 {
			if radix := e.eval(p.with(args[1])); radix.kind != number || radix.num != 10 {
				return dark(p, "parseInt with another radix than 10")
			}
		}
		return numberOf(numberPrefix(spelled, true)).withEnv(first.env)
	case "isNaN", "Number.isNaN":
		return booleanOf(math.IsNaN(f) && (name == "isNaN" || first.kind == number)).withEnv(first.env)
	case "isFinite", "Number.isFinite":
		return booleanOf(!math.IsNaN(f) && !math.IsInf(f, 0) && (name == "isFinite" || first.kind == number)).withEnv(first.env)
	}
	return e.mathCall(p, name, f, first, args)
}

func (e *evaluator) mathCall(p place, name string, f float64, first value, args []*tsgo.Node) value {
	one := map[string]func(float64) float64{"Math.round": func(f float64) float64 { return math.Floor(f + 0.5) }, "Math.floor": math.Floor,
		"Math.ceil": math.Ceil, "Math.trunc": math.Trunc, "Math.abs": math.Abs, "Math.sqrt": math.Sqrt, "Math.log10": math.Log10}
	two := map[string]func(a, b float64) float64{"Math.min": math.Min, "Math.max": math.Max, "Math.pow": math.Pow}
	if g, ok := one[name]; ok && len(args) == 1 {
		return numberOf(g(f)).withEnv(first.env)
	}
	g, ok := two[name]
	if !ok {
		return dark(p, "the call of "+name+" returns it at run time")
	}
	result := numberOf(f).withEnv(first.env)
	for _, arg := range args[1:] {
		v := e.eval(p.with(arg))
		b, plain := toNumber(v)
		if !plain {
			return dark(p, "an argument of "+name+" is not constant")
		}
		result = numberOf(g(result.num, b)).withEnv(result.env, v.env)
	}
	return result
}

// assign is Object.assign: later arguments lie over earlier ones.
func (e *evaluator) assign(p place, args []*tsgo.Node) value {
	v := value{kind: object, at: p}
	for _, arg := range args {
		if arg.Kind == tsgo.KindSpreadElement {
			return dark(p, "a list is spread into the arguments")
		}
		layer := e.eval(p.with(arg))
		if layer.at.node == nil || layer.kind == unknown {
			layer.at = p.with(arg)
		}
		v.layers = append(v.layers, layer)
	}
	if v.layers == nil {
		return dark(p, "Object.assign of nothing")
	}
	return v
}

// method calls a method of a constant text, number or list.
func (e *evaluator) method(p place, callee *tsgo.Node, args []*tsgo.Node) (value, bool) {
	switch callee.Name().Text() {
	case "toUpperCase", "toLowerCase", "trim", "toString", "valueOf", "toFixed", "concat", "join":
	default:
		return value{}, false
	}
	receiver := e.eval(p.with(callee.Expression()))
	var argument value
	if len(args) > 0 {
		argument = e.eval(p.with(args[0]))
	}
	v := receiver.each(func(receiver value) value {
		if receiver.kind == undefined && receiver.env != "" {
			return receiver // process.env.X?.trim()
		}
		return callMethod(p, callee.Name().Text(), receiver, argument, len(args)).withEnv(receiver.env)
	})
	return v, v.kind != unknown || v.why != ""
}

func callMethod(p place, name string, v, arg value, args int) value {
	switch {
	case v.kind == unknown:
		return v
	case v.kind == textual && args == 0:
		if changed, ok := changeText(name, v.text); ok {
			return textOf(changed)
		}
	case v.kind == textual && name == "concat" && args == 1:
		return joinText(p, v, arg)
	case v.kind == number:
		if shown, ok := showNumber(p, name, v, arg, args); ok {
			return shown
		}
	case v.kind == list && name == "concat" && args == 1 && arg.kind == list:
		joined := value{kind: list, at: p}
		joined.items = append(append(joined.items, v.items...), arg.items...)
		return joined
	case v.kind == list && name == "join" && args <= 1:
		return joinList(p, v.items, arg, args)
	}
	return dark(p, "the call of "+name+" returns it at run time")
}

// changeText is a text after one of the methods that need no argument.
func changeText(method, text string) (string, bool) {
	switch method {
	case "toUpperCase":
		return strings.ToUpper(text), true
	case "toLowerCase":
		return strings.ToLower(text), true
	case "trim":
		return strings.TrimSpace(text), true
	case "toString", "valueOf":
		return text, true
	}
	return "", false
}

// showNumber is a number turned into text by one of its methods.
func showNumber(p place, method string, v, digits value, args int) (value, bool) {
	switch {
	case args == 0 && (method == "toString" || method == "valueOf"):
		return joinText(p, v, textOf("")), true
	case method == "toFixed" && (args == 0 || digits.kind == number && digits.num >= 0 && digits.num <= 100):
		return textOf(strconv.FormatFloat(v.num, 'f', int(digits.num), 64)), true
	}
	return value{}, false
}

func joinList(p place, items []value, separator value, args int) value {
	if args == 0 {
		separator = textOf(",")
	}
	joined := textOf("")
	for i, item := range items {
		if i > 0 {
			joined = joinText(p, joined, separator)
		}
		joined = joinText(p, joined, item)
	}
	return joined
}

// construct is an instance of a class of the tree, or a number or text in a box.
func (e *evaluator) construct(p place) value {
	f := e.eval(p.with(p.node.Expression()))
	if f.kind == class {
		return value{kind: instance, at: f.at, text: f.text}
	}
	return dark(p, "it is an object made at run time")
}
