package contract

import (
	"fmt"

	tsgo "github.com/microsoft/typescript-go/slowburn"
)

// symbolOf is a symbol and the file that declares it.
type symbolOf struct {
	src *source
	sym *tsgo.Symbol
}

// lookup finds what a name means at p.
func (e *evaluator) lookup(p place, name string) value {
	at := p
	if p.src.host.src != nil {
		at = p.src.host
	}
	if sym := tsgo.Resolve(at.node, name); sym != nil {
		v := e.symbol(at.src, sym, p)
		if v.kind == unknown && v.text == "" {
			v.text = name
		}
		return v
	}
	switch name {
	case "undefined":
		return undefinedValue()
	case "NaN":
		return numberOf(textToNumber("x"))
	case "Infinity":
		return numberOf(textToNumber("Infinity"))
	}
	return value{kind: outside, text: name, path: name}
}

// symbol finds the value of what a file declares; p is where it is used.
func (e *evaluator) symbol(src *source, sym *tsgo.Symbol, p place) value {
	w := e.tree.writesOf(src)
	if tsgo.IsAlias(sym) {
		if w.any[sym] {
			return dark(p, sym.Name+" is assigned into in this file")
		}
		return e.alias(src, sym, p)
	}
	for _, k := range []tsgo.Kind{tsgo.KindEnumDeclaration, tsgo.KindClassDeclaration, tsgo.KindClassExpression, tsgo.KindFunctionDeclaration, tsgo.KindModuleDeclaration} {
		if node, ok := tsgo.Declares(sym, k); ok {
			return e.declared(place{src, node}, sym, w)
		}
	}
	return e.variables(src, sym, w, p)
}

func (e *evaluator) declared(at place, sym *tsgo.Symbol, w *writes) value {
	if w.direct[sym] {
		return dark(at, sym.Name+" is assigned after its declaration")
	}
	switch at.node.Kind {
	case tsgo.KindClassDeclaration, tsgo.KindClassExpression:
		return classValue(at)
	case tsgo.KindFunctionDeclaration:
		return value{kind: function, at: at, text: sym.Name}
	}
	return value{kind: namespace, at: at, text: sym.Name, symbol: symbolOf{at.src, sym}}
}

// variables finds the value of a name that is declared by var, let, const, a parameter or an enum member.
func (e *evaluator) variables(src *source, sym *tsgo.Symbol, w *writes, p place) value {
	var alts []value
	for _, d := range sym.Declarations {
		at := place{src, d}
		switch d.Kind {
		case tsgo.KindVariableDeclaration:
			alts = append(alts, e.variable(at, sym, w))
		case tsgo.KindBindingElement:
			alts = append(alts, e.bound(at, sym, w))
		case tsgo.KindParameter:
			v := dark(at, fmt.Sprintf("%s is a parameter of a function", sym.Name))
			v.param = true
			return v
		case tsgo.KindEnumMember:
			return e.enumMember(at)
		case tsgo.KindExportAssignment:
			return e.eval(place{src, d.AsExportAssignment().Expression})
		}
	}
	if len(alts) == 0 {
		return dark(p, fmt.Sprintf("%s has no constant value", sym.Name))
	}
	return oneOf(alts...)
}

func (e *evaluator) variable(at place, sym *tsgo.Symbol, w *writes) value {
	if why := notConstant(at.node, sym, w); why != "" {
		return dark(at, why)
	}
	e.note(at, fmt.Sprintf("%s is declared here", sym.Name))
	return e.eval(at.with(at.node.Initializer()))
}

// notConstant says why a variable's initial value is not its value for ever.
func notConstant(d *tsgo.Node, sym *tsgo.Symbol, w *writes) string {
	switch {
	case w.direct[sym]:
		return sym.Name + " is assigned again"
	case w.any[sym]:
		return sym.Name + " is assigned into after its declaration"
	case d.Initializer() == nil:
		return sym.Name + " has no initial value here"
	case tsgo.IsConst(d) || tsgo.IsLet(d) || isUnconditional(d):
		return ""
	}
	return sym.Name + " is declared in a branch that may not run"
}

// isUnconditional reports whether a var stands directly in its function or file.
func isUnconditional(d *tsgo.Node) bool {
	statement := d.Parent.Parent
	if statement.Kind != tsgo.KindVariableStatement {
		return false
	}
	block := statement.Parent
	switch block.Kind {
	case tsgo.KindSourceFile, tsgo.KindModuleBlock:
		return true
	case tsgo.KindBlock:
		return tsgo.IsFunctionLike(block.Parent)
	}
	return false
}

// bound finds the value of one name of a destructuring pattern.
func (e *evaluator) bound(at place, sym *tsgo.Symbol, w *writes) value {
	if w.any[sym] {
		return dark(at, sym.Name+" is assigned again")
	}
	e.note(at, fmt.Sprintf("%s is taken out of a pattern here", sym.Name))
	return e.boundElement(at)
}

func (e *evaluator) boundElement(at place) value {
	b := at.node.AsBindingElement()
	pattern := at.node.Parent
	whole := e.patternSource(at.with(pattern.Parent))
	var v value
	switch {
	case b.DotDotDotToken != nil:
		v = e.rest(whole, at)
	case pattern.Kind == tsgo.KindArrayBindingPattern:
		v = e.get(whole, spellNumber(float64(indexOf(pattern.Elements(), at.node))), at)
	default:
		v = e.boundKey(whole, at)
	}
	if b.Initializer == nil {
		return v
	}
	return v.each(func(v value) value {
		if v.kind == undefined {
			return e.eval(at.with(b.Initializer)).withEnv(v.env)
		}
		return v
	})
}

func (e *evaluator) boundKey(whole value, at place) value {
	b := at.node.AsBindingElement()
	name := b.PropertyName
	if name == nil {
		name = at.node.Name()
	}
	if name.Kind != tsgo.KindComputedPropertyName {
		return e.get(whole, name.Text(), at)
	}
	key, ok := e.eval(at.with(name.Expression())).spelled()
	if !ok {
		return dark(at, "its key is not constant")
	}
	return e.get(whole, key, at)
}

// rest is what a pattern leaves over.
func (e *evaluator) rest(whole value, at place) value {
	elements := at.node.Parent.Elements()
	i := indexOf(elements, at.node)
	if at.node.Parent.Kind == tsgo.KindArrayBindingPattern {
		if whole.kind != list {
			return dark(at, "the list that is taken apart is not constant")
		}
		whole.items = whole.items[min(i, len(whole.items)):]
		return whole
	}
	if whole.kind != object {
		return dark(at, "the object that is taken apart is not constant")
	}
	rest := value{kind: object, layers: []value{whole}, at: whole.at}
	for _, sibling := range elements[:i] {
		name := sibling.AsBindingElement().PropertyName
		if name == nil {
			name = sibling.Name()
		}
		if name.Kind == tsgo.KindComputedPropertyName {
			return dark(at, "a computed key is taken out of the object")
		}
		rest.minus = append(rest.minus, name.Text())
	}
	return rest
}

// patternSource is the value that a pattern takes apart: a declaration's initial value, or an element of the
// pattern around it.
func (e *evaluator) patternSource(owner place) value {
	switch owner.node.Kind {
	case tsgo.KindVariableDeclaration:
		if owner.node.Initializer() == nil {
			return dark(owner, "it is taken out of what a loop runs over")
		}
		return e.eval(owner.with(owner.node.Initializer()))
	case tsgo.KindBindingElement:
		return e.boundElement(owner)
	case tsgo.KindParameter:
		v := dark(owner, "it is a parameter of a function")
		v.param = true
		return v
	}
	return dark(owner, "it is known at run time only")
}

func indexOf(nodes []*tsgo.Node, n *tsgo.Node) int {
	for i, m := range nodes {
		if m == n {
			return i
		}
	}
	return -1
}

// namespaceMember reads what a namespace exports or an enum holds.
func (e *evaluator) namespaceMember(v value, name string, p place) value {
	if e.tree.writesOf(v.symbol.src).named[v.symbol.sym][name] != nil {
		return dark(p, v.text+"."+name+" is assigned after its declaration")
	}
	if member, ok := v.symbol.sym.Exports[name]; ok {
		return e.symbol(v.symbol.src, member, p)
	}
	for key, member := range v.symbol.sym.Exports { // reverse mapping: E[1] is the name of the member that is 1
		if node, ok := tsgo.Declares(member, tsgo.KindEnumMember); ok {
			if spelled, _ := e.enumMember(place{v.symbol.src, node}).spelled(); spelled == name {
				return textOf(key)
			}
		}
	}
	return dark(p, v.text+" has no member "+name)
}

// enumMember computes a member: its initial value, or one more than the member before.
func (e *evaluator) enumMember(at place) value {
	members := at.node.Parent.Members()
	i := indexOf(members, at.node)
	back := i
	for back >= 0 && members[back].Initializer() == nil {
		back--
	}
	if i < 0 {
		return dark(at, "it is no member of its enum")
	}
	e.note(at, "enum member "+nameOf(at.node))
	if back < 0 {
		return numberOf(float64(i))
	}
	v := e.eval(at.with(members[back].Initializer()))
	if back == i {
		return v
	}
	if v.kind != number {
		return dark(at, "the member before it is no number")
	}
	return numberOf(v.num + float64(i-back))
}
