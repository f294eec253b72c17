// Package tsgo is the one door to TypeScript's own parser and binder in its Go port. It parses a text, binds
// names to declarations and says where tokens begin; it checks no types and reads no files. The module's path
// lies below typescript-go's so that Go lets it import the port's internal packages.
package tsgo

import (
	"strings"

	"github.com/microsoft/typescript-go/internal/ast"
	"github.com/microsoft/typescript-go/internal/binder"
	"github.com/microsoft/typescript-go/internal/core"
	"github.com/microsoft/typescript-go/internal/parser"
	"github.com/microsoft/typescript-go/internal/scanner"
)

type (
	// Node is a node of the syntax tree. Positions are byte offsets into the text that was parsed.
	Node = ast.Node
	// Symbol is what a name is bound to, with its declarations.
	Symbol = ast.Symbol
	// Kind tells nodes apart.
	Kind = ast.Kind
	// SourceFile is the root of a tree.
	SourceFile = ast.SourceFile
)

// Names under which the binder files what has no name of its own in a module's exports.
const (
	ExportDefault = ast.InternalSymbolNameDefault
	ExportEquals  = ast.InternalSymbolNameExportEquals
	ExportStar    = ast.InternalSymbolNameExportStar
)

// Language says by which grammar a text is read.
type Language int

// TSX also reads JavaScript, with or without JSX.
const (
	TypeScript Language = iota
	TSX
	JSON
)

// Parse parses and binds text. A text with faults still yields a tree; Faults lists them.
func Parse(text string, language Language) *SourceFile {
	name, kind := "/source.ts", core.ScriptKindTS
	switch language {
	case TSX:
		name, kind = "/source.tsx", core.ScriptKindTSX
	case JSON:
		name, kind = "/source.json", core.ScriptKindJSON
	}
	options := ast.SourceFileParseOptions{
		FileName: name,
		Path:     "/source",
		// Every file is a module: its top level is a scope of its own.
		ExternalModuleIndicatorOptions: ast.ExternalModuleIndicatorOptions{Force: true},
	}
	file := parser.ParseSourceFile(options, text, kind)
	if language != JSON {
		binder.BindSourceFile(file)
	}
	return file
}

// Fault is a place where a text breaks the grammar.
type Fault struct {
	Pos     int
	Message string
}

// Faults lists the syntax errors of a tree.
func Faults(file *SourceFile) []Fault {
	var faults []Fault
	for _, d := range file.Diagnostics() {
		faults = append(faults, Fault{Pos: d.Pos(), Message: strings.TrimSuffix(d.String(), ".")})
	}
	return faults
}

// Resolve finds the value, namespace or import that name means at the place of node. It is nil for a name
// that the file does not bind.
func Resolve(node *Node, name string) *Symbol {
	const meaning = ast.SymbolFlagsValue | ast.SymbolFlagsExportValue | ast.SymbolFlagsAlias | ast.SymbolFlagsNamespace
	resolver := binder.NameResolver{CompilerOptions: &core.CompilerOptions{Target: core.ScriptTargetESNext}}
	symbol := resolver.Resolve(node, name, meaning, nil, false, false)
	if symbol != nil && symbol.ExportSymbol != nil {
		return symbol.ExportSymbol
	}
	return symbol
}

// Start is where the first token of node begins, after blanks and comments.
func Start(file *SourceFile, node *Node) int {
	return scanner.GetTokenPosOfNode(node, file, false)
}

// Declares reports whether one of the symbol's declarations is of that kind, and gives the first.
func Declares(symbol *Symbol, kind Kind) (*Node, bool) {
	node := ast.GetDeclarationOfKind(symbol, kind)
	return node, node != nil
}

// IsAlias reports whether the symbol stands for another one, in this file or in a module.
func IsAlias(symbol *Symbol) bool { return symbol.Flags&ast.SymbolFlagsAlias != 0 }

// IsConst reports whether a variable declaration is a const or a using.
func IsConst(declaration *Node) bool { return ast.IsVarConstLike(declaration) }

// IsLet reports whether a variable declaration is a let.
func IsLet(declaration *Node) bool {
	return ast.GetCombinedNodeFlags(declaration)&ast.NodeFlagsLet != 0
}

// IsStatic reports whether a class member is static.
func IsStatic(member *Node) bool { return ast.IsStatic(member) }

// IsFunctionLike reports whether a node opens a function: its own this and arguments, arrows included.
func IsFunctionLike(node *Node) bool { return ast.IsFunctionLike(node) }

// IsAssignment reports whether an operator token assigns to what stands left of it.
func IsAssignment(operator Kind) bool { return ast.IsAssignmentOperator(operator) }
