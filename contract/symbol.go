package contract

import (
	tsgo "github.com/microsoft/typescript-go/slowburn"
)

// symbolAt names what a declaration stands on: a function, a class, Class.member, the first variable of a
// statement. It is empty for what has no name.
func symbolAt(n *tsgo.Node) string {
	switch n.Kind {
	case tsgo.KindVariableStatement:
		return firstName(n.AsVariableStatement().DeclarationList)
	case tsgo.KindVariableDeclarationList, tsgo.KindVariableDeclaration, tsgo.KindBindingElement:
		return firstName(n)
	case tsgo.KindMethodDeclaration, tsgo.KindPropertyDeclaration, tsgo.KindGetAccessor, tsgo.KindSetAccessor, tsgo.KindConstructor,
		tsgo.KindMethodSignature, tsgo.KindPropertySignature:
		return memberName(n)
	case tsgo.KindParameter:
		if owner := symbolAt(n.Parent); owner != "" {
			return owner
		}
		return firstName(n)
	}
	return nameOf(n)
}

func memberName(n *tsgo.Node) string {
	name := nameOf(n)
	if n.Kind == tsgo.KindConstructor {
		name = "constructor"
	}
	owner := className(n.Parent)
	if owner == "" || name == "" {
		return name
	}
	return owner + "." + name
}

// className is a class's own name, or that of the variable it is assigned to.
func className(n *tsgo.Node) string {
	if name := nameOf(n); name != "" || n.Kind == tsgo.KindObjectLiteralExpression {
		return name
	}
	if n.Parent != nil && n.Parent.Kind == tsgo.KindVariableDeclaration {
		return nameOf(n.Parent)
	}
	return ""
}

// firstName is the first identifier that a declaration binds.
func firstName(n *tsgo.Node) string {
	switch n.Kind {
	case tsgo.KindVariableDeclarationList:
		for _, d := range n.AsVariableDeclarationList().Declarations.Nodes {
			return firstName(d)
		}
		return ""
	case tsgo.KindObjectBindingPattern, tsgo.KindArrayBindingPattern:
		for _, element := range n.Elements() {
			if name := firstName(element); name != "" {
				return name
			}
		}
		return ""
	case tsgo.KindIdentifier:
		return n.Text()
	}
	if name := n.Name(); name != nil {
		return firstName(name)
	}
	return ""
}

// documented finds what a comment is about: the declaration whose name it stands before. Scope is the node in
// whose scope the comment's expressions are read.
func (s *source) documented(comment span, in *tsgo.Node) (symbol string, scope *tsgo.Node) {
	for n := in; n != nil && n.Kind != tsgo.KindSourceFile; n = n.Parent {
		switch n.Kind {
		case tsgo.KindFunctionDeclaration, tsgo.KindClassDeclaration, tsgo.KindInterfaceDeclaration, tsgo.KindEnumDeclaration,
			tsgo.KindModuleDeclaration, tsgo.KindTypeAliasDeclaration, tsgo.KindMethodDeclaration, tsgo.KindPropertyDeclaration,
			tsgo.KindGetAccessor, tsgo.KindSetAccessor, tsgo.KindConstructor, tsgo.KindMethodSignature, tsgo.KindPropertySignature,
			tsgo.KindPropertyAssignment, tsgo.KindShorthandPropertyAssignment, tsgo.KindEnumMember, tsgo.KindVariableDeclaration,
			tsgo.KindVariableStatement, tsgo.KindParameter:
			if s.standsBefore(comment, n) {
				return symbolAt(n), n.Parent
			}
			if n.Kind != tsgo.KindVariableDeclaration {
				return "", n
			}
		case tsgo.KindBlock, tsgo.KindModuleBlock, tsgo.KindExpressionStatement, tsgo.KindImportDeclaration, tsgo.KindExportDeclaration, tsgo.KindExportAssignment:
			return "", n
		}
	}
	return "", s.file.AsNode()
}

// standsBefore reports whether a comment stands before the name of a declaration, or, for one without a name,
// before the declaration itself.
func (s *source) standsBefore(comment span, n *tsgo.Node) bool {
	if n.Kind == tsgo.KindVariableStatement {
		declarations := n.AsVariableStatement().DeclarationList.AsVariableDeclarationList().Declarations.Nodes
		return len(declarations) > 0 && comment.end <= tsgo.Start(s.file, declarations[0])
	}
	if name := n.Name(); name != nil {
		return comment.end <= tsgo.Start(s.file, name)
	}
	return comment.start <= tsgo.Start(s.file, n)
}
