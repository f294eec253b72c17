package contract

import (
	tsgo "github.com/microsoft/typescript-go/slowburn"
)

// writes says what a file assigns to after its declaration: a value that is written is not constant.
type writes struct {
	direct map[*tsgo.Symbol]bool                    // X = …, X++
	any    map[*tsgo.Symbol]bool                    // also X.y = …, X.push(…), Object.assign(X, …)
	named  map[*tsgo.Symbol]map[string][]*tsgo.Node // X.y = … under y
	this   map[*tsgo.Node]map[string][]*tsgo.Node   // this.y = … in a class, under the class and y
}

// writesOf finds the assignments of a file, once.
func (t *tree) writesOf(s *source) *writes {
	s.writeOnce.Do(func() {
		s.written = writes{
			direct: map[*tsgo.Symbol]bool{}, any: map[*tsgo.Symbol]bool{},
			named: map[*tsgo.Symbol]map[string][]*tsgo.Node{}, this: map[*tsgo.Node]map[string][]*tsgo.Node{},
		}
		s.written.collect(s.file.AsNode())
	})
	return &s.written
}

// member lists the assignments to a member of a class: by the class's name, and by this.
func (w *writes) member(class *tsgo.Node, name string, static bool) []*tsgo.Node {
	var all []*tsgo.Node
	if symbol := class.Symbol(); symbol != nil && static {
		for _, s := range []*tsgo.Symbol{symbol, symbol.ExportSymbol, class.LocalSymbol()} {
			if s != nil {
				all = append(all, w.named[s][name]...)
			}
		}
	}
	for _, n := range w.this[class][name] {
		if inStatic(n, class) == static {
			all = append(all, n)
		}
	}
	return all
}

func inStatic(n, class *tsgo.Node) bool {
	for ; n != nil && n.Parent != class; n = n.Parent {
	}
	return n != nil && tsgo.IsStatic(n)
}

func (w *writes) collect(n *tsgo.Node) {
	switch n.Kind {
	case tsgo.KindBinaryExpression:
		if b := n.AsBinaryExpression(); tsgo.IsAssignment(b.OperatorToken.Kind) {
			w.target(b.Left, n)
		}
	case tsgo.KindPrefixUnaryExpression:
		if u := n.AsPrefixUnaryExpression(); u.Operator == tsgo.KindPlusPlusToken || u.Operator == tsgo.KindMinusMinusToken {
			w.target(u.Operand, n)
		}
	case tsgo.KindPostfixUnaryExpression:
		w.target(n.AsPostfixUnaryExpression().Operand, n)
	case tsgo.KindDeleteExpression:
		w.target(n.Expression(), n)
	case tsgo.KindForInStatement, tsgo.KindForOfStatement:
		if head := n.Initializer(); head != nil && head.Kind != tsgo.KindVariableDeclarationList {
			w.target(head, n)
		}
	case tsgo.KindCallExpression:
		w.mutation(n)
	}
	n.ForEachChild(func(child *tsgo.Node) bool {
		w.collect(child)
		return false
	})
}

// target notes what stands left of an assignment, patterns included.
func (w *writes) target(left, assignment *tsgo.Node) {
	left = unwrap(left)
	switch left.Kind {
	case tsgo.KindArrayLiteralExpression:
		for _, n := range left.Elements() {
			w.target(n, assignment)
		}
	case tsgo.KindSpreadElement, tsgo.KindSpreadAssignment:
		w.target(left.Expression(), assignment)
	case tsgo.KindObjectLiteralExpression:
		for _, n := range left.Properties() {
			if n.Kind == tsgo.KindPropertyAssignment {
				w.target(n.Initializer(), assignment)
			} else {
				w.target(n, assignment)
			}
		}
	case tsgo.KindShorthandPropertyAssignment:
		w.path(left.Name(), nil, assignment)
	case tsgo.KindBinaryExpression: // a default inside a pattern
		w.target(left.AsBinaryExpression().Left, assignment)
	default:
		w.path(left, nil, assignment)
	}
}

// path notes an assignment to a chain of members, by its root.
func (w *writes) path(n *tsgo.Node, members []string, assignment *tsgo.Node) {
	n = unwrap(n)
	switch n.Kind {
	case tsgo.KindPropertyAccessExpression:
		w.path(n.Expression(), append([]string{n.Name().Text()}, members...), assignment)
	case tsgo.KindElementAccessExpression:
		name := ""
		if arg := n.AsElementAccessExpression().ArgumentExpression; arg != nil && (arg.Kind == tsgo.KindStringLiteral || arg.Kind == tsgo.KindNoSubstitutionTemplateLiteral) {
			name = arg.Text()
		}
		w.path(n.Expression(), append([]string{name}, members...), assignment)
	case tsgo.KindThisKeyword:
		if class := enclosingClass(n); class != nil && len(members) > 0 {
			put(w.this, class, members[0], assignment)
		}
	case tsgo.KindIdentifier:
		if symbol := tsgo.Resolve(n, n.Text()); symbol != nil {
			w.symbol(symbol, members, assignment)
		}
	}
}

func (w *writes) symbol(symbol *tsgo.Symbol, members []string, assignment *tsgo.Node) {
	if len(members) == 0 {
		w.direct[symbol] = true
		w.any[symbol] = true
		return
	}
	put(w.named, symbol, members[0], assignment)
	if w.any[symbol] {
		return
	}
	w.any[symbol] = true
	// const c = CONFIG; c.target = 1 writes into CONFIG.
	for _, d := range symbol.Declarations {
		if d.Kind == tsgo.KindVariableDeclaration && d.Initializer() != nil {
			w.path(d.Initializer(), []string{members[0]}, assignment)
		}
	}
}

func put[K comparable](m map[K]map[string][]*tsgo.Node, key K, name string, n *tsgo.Node) {
	if m[key] == nil {
		m[key] = map[string][]*tsgo.Node{}
	}
	m[key][name] = append(m[key][name], n)
}

// mutation notes the calls that are known to change their receiver or their first argument.
func (w *writes) mutation(call *tsgo.Node) {
	callee := unwrap(call.Expression())
	if callee.Kind != tsgo.KindPropertyAccessExpression {
		return
	}
	method := callee.Name().Text()
	switch method {
	case "push", "pop", "shift", "unshift", "splice", "sort", "reverse", "fill", "copyWithin":
		w.path(callee.Expression(), []string{""}, call)
	case "assign", "defineProperty", "defineProperties", "set", "setPrototypeOf", "deleteProperty":
		base := unwrap(callee.Expression())
		if base.Kind == tsgo.KindIdentifier && (base.Text() == "Object" || base.Text() == "Reflect") && len(call.Arguments()) > 0 {
			w.path(call.Arguments()[0], []string{""}, call)
		}
	}
}

// unwrap takes off parentheses and what only the type checker sees.
func unwrap(n *tsgo.Node) *tsgo.Node {
	for {
		switch n.Kind {
		case tsgo.KindParenthesizedExpression, tsgo.KindAsExpression, tsgo.KindSatisfiesExpression, tsgo.KindTypeAssertionExpression,
			tsgo.KindNonNullExpression, tsgo.KindExpressionWithTypeArguments:
			n = n.Expression()
		default:
			return n
		}
	}
}

// enclosingClass is the class whose instance, or which itself, this means at n.
func enclosingClass(n *tsgo.Node) *tsgo.Node {
	for n = n.Parent; n != nil; n = n.Parent {
		switch n.Kind {
		case tsgo.KindFunctionDeclaration, tsgo.KindFunctionExpression:
			return nil
		case tsgo.KindClassDeclaration, tsgo.KindClassExpression:
			return n
		}
	}
	return nil
}
