package contract

import (
	"fmt"
	"path"
	"sort"
	"strings"

	tsgo "github.com/microsoft/typescript-go/slowburn"
)

// alias follows an import, or an export that stands for something else.
func (e *evaluator) alias(src *source, sym *tsgo.Symbol, p place) value {
	for _, d := range sym.Declarations {
		at := place{src, d}
		switch d.Kind {
		case tsgo.KindImportSpecifier:
			return e.imported(at, moduleOf(d), importedName(d))
		case tsgo.KindImportClause:
			v := e.imported(at, moduleOf(d), "default")
			if v.kind == outside {
				v.text = sym.Name // the package's default export is known by the name it is given here
			}
			return v
		case tsgo.KindNamespaceImport:
			return e.imported(at, moduleOf(d), "*")
		case tsgo.KindImportEqualsDeclaration:
			return e.importEquals(at)
		case tsgo.KindExportSpecifier, tsgo.KindNamespaceExport:
			return e.exported(at)
		case tsgo.KindExportAssignment:
			return e.eval(at.with(d.AsExportAssignment().Expression))
		}
	}
	return dark(p, sym.Name+" stands for something that can't be followed")
}

func importedName(specifier *tsgo.Node) string {
	name := specifier.PropertyName()
	if name == nil {
		name = specifier.Name()
	}
	return name.Text()
}

// moduleOf is the module specifier of the import or export declaration around n.
func moduleOf(n *tsgo.Node) string {
	for ; n != nil; n = n.Parent {
		switch n.Kind {
		case tsgo.KindImportDeclaration, tsgo.KindExportDeclaration:
			if s := n.ModuleSpecifier(); s != nil && s.Kind == tsgo.KindStringLiteral {
				return s.Text()
			}
			return ""
		}
	}
	return ""
}

func (e *evaluator) importEquals(at place) value {
	reference := at.node.AsImportEqualsDeclaration().ModuleReference
	if reference.Kind == tsgo.KindExternalModuleReference {
		if s := reference.Expression(); s != nil && s.Kind == tsgo.KindStringLiteral {
			return e.required(at, s.Text())
		}
		return dark(at, "the module it imports is not constant")
	}
	return e.entity(at.with(reference))
}

// entity evaluates A.B.C where it stands as a name of a namespace.
func (e *evaluator) entity(p place) value {
	if p.node.Kind != tsgo.KindQualifiedName {
		return e.lookup(p, p.node.Text())
	}
	q := p.node.AsQualifiedName()
	return e.get(e.entity(p.with(q.Left)), q.Right.Text(), p)
}

// imported is what a module exports under name; "*" is the module itself.
func (e *evaluator) imported(at place, spec, name string) value {
	target := e.tree.resolve(at.src.path, spec)
	switch {
	case target.path != "":
		e.note(at, fmt.Sprintf("%s comes from %s", name, target.path))
		if name == "*" {
			return value{kind: module, text: target.path, at: at}
		}
		return e.moduleMember(target.path, name, at)
	case target.why != "":
		v := dark(at, target.why)
		v.text = name
		return v
	}
	v := external(name, strings.TrimPrefix(spec, "node:")+"#"+name)
	v.at = at
	return v
}

// required is what require(spec) returns: what the module assigns to its exports, or its namespace.
func (e *evaluator) required(at place, spec string) value {
	target := e.tree.resolve(at.src.path, spec)
	if target.path == "" {
		return e.imported(at, spec, "*")
	}
	e.note(at, "required from "+target.path)
	if whole, ok := e.wholeExport(target.path); ok {
		return whole
	}
	return value{kind: module, text: target.path, at: at}
}

func (e *evaluator) moduleMember(file, name string, p place) value {
	v, ok := e.export(file, name)
	if !ok {
		if name == "default" { // an import of a CommonJS module by default is the whole of it
			return value{kind: module, text: file, at: p}
		}
		return dark(p, fmt.Sprintf("%s exports no %s", file, name))
	}
	if v.at.node == nil {
		v.at = p
	}
	return v
}

// export finds what a file exports under name, through any number of re-exports. A cycle ends.
func (e *evaluator) export(file, name string) (value, bool) {
	key := visit{file, name}
	if e.active[key] || e.depth >= maxDepth {
		return value{}, false
	}
	e.active[key] = true
	e.depth++
	defer func() {
		delete(e.active, key)
		e.depth--
	}()
	src, err := e.tree.open(e.ctx, file)
	if err != nil {
		return value{why: fmt.Sprintf("%s can't be read: %v", file, err)}, true
	}
	if strings.HasSuffix(file, ".json") {
		return e.jsonExport(src, name), true
	}
	var exports map[string]*tsgo.Symbol
	if sym := src.file.AsNode().Symbol(); sym != nil {
		exports = sym.Exports
	}
	if sym, ok := exports[name]; ok {
		return e.symbolExport(src, sym), true
	}
	if v, ok := e.commonExport(src, exports, name); ok {
		return v, true
	}
	return e.starExport(src, exports, name)
}

func (e *evaluator) jsonExport(src *source, name string) value {
	statements := src.file.Statements.Nodes
	if len(statements) == 0 {
		return dark(src.root(), "the file is empty")
	}
	whole := e.eval(place{src, statements[0].Expression()})
	if name == "default" {
		return whole
	}
	return e.get(whole, name, whole.at)
}

func (e *evaluator) symbolExport(src *source, sym *tsgo.Symbol) value {
	return e.symbol(src, sym, place{src, sym.Declarations[0]})
}

// exported follows export { a as b }, with or without from, and export * as ns.
func (e *evaluator) exported(at place) value {
	spec := moduleOf(at.node)
	switch {
	case at.node.Kind == tsgo.KindNamespaceExport:
		return e.imported(at, spec, "*")
	case spec != "":
		return e.imported(at, spec, importedName(at.node))
	}
	return e.lookup(at, importedName(at.node))
}

// starExport looks behind export *. Two modules that both have the name, with different values, are a choice.
func (e *evaluator) starExport(src *source, exports map[string]*tsgo.Symbol, name string) (value, bool) {
	star := exports[tsgo.ExportStar]
	if star == nil || name == "default" {
		return value{}, false
	}
	var alts []value
	for _, d := range star.Declarations {
		target := e.tree.resolve(src.path, moduleOf(d))
		if target.path == "" {
			continue
		}
		if v, ok := e.export(target.path, name); ok {
			e.note(place{src, d}, fmt.Sprintf("%s comes from %s", name, target.path))
			alts = append(alts, v)
		}
	}
	if len(alts) == 0 {
		return e.starOutside(src, star, name)
	}
	return oneOf(alts...), true
}

// starOutside is the name taken from a package outside the tree, if one is re-exported whole.
func (e *evaluator) starOutside(src *source, star *tsgo.Symbol, name string) (value, bool) {
	for _, d := range star.Declarations {
		if spec := moduleOf(d); e.tree.resolve(src.path, spec) == (target{}) {
			return value{kind: outside, text: name, path: spec + "#" + name, at: place{src, d}}, true
		}
	}
	return value{}, false
}

// wholeExport is what a file exports as one value: export = x, module.exports = x.
func (e *evaluator) wholeExport(file string) (value, bool) {
	src, err := e.tree.open(e.ctx, file)
	if err != nil {
		return value{why: fmt.Sprintf("%s can't be read: %v", file, err)}, true
	}
	if strings.HasSuffix(file, ".json") {
		return e.jsonExport(src, "default"), true
	}
	if sym := src.file.AsNode().Symbol(); sym != nil {
		if whole, ok := sym.Exports[tsgo.ExportEquals]; ok {
			return e.symbolExport(src, whole), true
		}
	}
	if c := src.commonJS(); c.whole != nil {
		return e.eval(place{src, c.whole}), true
	}
	return value{}, false
}

func (e *evaluator) commonExport(src *source, exports map[string]*tsgo.Symbol, name string) (value, bool) {
	c := src.commonJS()
	if nodes := c.named[name]; len(nodes) == 1 {
		return e.eval(place{src, nodes[0]}), true
	} else if len(nodes) > 1 {
		return dark(place{src, nodes[1]}, name+" is exported twice"), true
	}
	if exports[tsgo.ExportEquals] == nil && c.whole == nil {
		return value{}, false
	}
	whole, _ := e.wholeExport(src.path)
	if name == "default" {
		return whole, true
	}
	return e.get(whole, name, whole.at), true
}

// commonJS is what a file assigns to module.exports and to exports.
type commonJS struct {
	whole *tsgo.Node
	named map[string][]*tsgo.Node
}

func (s *source) commonJS() *commonJS {
	s.commonOnce.Do(func() {
		s.common.named = map[string][]*tsgo.Node{}
		for _, statement := range s.file.Statements.Nodes {
			if statement.Kind == tsgo.KindExpressionStatement {
				s.common.assignment(statement.Expression())
			}
		}
	})
	return &s.common
}

// assignment notes what a chain such as exports.a = exports.b = 1 exports, each name once.
func (c *commonJS) assignment(n *tsgo.Node) {
	var names []*tsgo.Node
	for n.Kind == tsgo.KindBinaryExpression && n.AsBinaryExpression().OperatorToken.Kind == tsgo.KindEqualsToken {
		names = append(names, n.AsBinaryExpression().Left)
		n = n.AsBinaryExpression().Right
	}
	if n.Kind == tsgo.KindVoidExpression { // what compilers put first
		return
	}
	for _, left := range names {
		c.assign(left, n)
	}
}

func (c *commonJS) assign(left, right *tsgo.Node) {
	switch {
	case isModuleExports(left):
		c.whole = right
	case left.Kind == tsgo.KindPropertyAccessExpression && (isModuleExports(left.Expression()) || isName(left.Expression(), "exports")):
		name := left.Name().Text()
		c.named[name] = append(c.named[name], right)
	}
}

func isName(n *tsgo.Node, name string) bool {
	return n.Kind == tsgo.KindIdentifier && n.Text() == name
}

func isModuleExports(n *tsgo.Node) bool {
	return n.Kind == tsgo.KindPropertyAccessExpression && n.Name().Text() == "exports" && isName(n.Expression(), "module")
}

// exportNames lists what a file exports by name, for the search for other names of our class.
func (s *source) exportNames() []string {
	var names []string
	if sym := s.file.AsNode().Symbol(); sym != nil {
		for name := range sym.Exports {
			names = append(names, name)
		}
	}
	for name := range s.commonJS().named {
		names = append(names, name)
	}
	if c := s.commonJS(); c.whole != nil && c.whole.Kind == tsgo.KindObjectLiteralExpression {
		for _, p := range c.whole.Properties() {
			names = append(names, nameOf(p))
		}
	}
	sort.Strings(names)
	return names
}

// stem is the word by which others import a file: its name, or its folder's for an index file.
func stem(file string) string {
	base := path.Base(file)
	base, _, _ = strings.Cut(base, ".")
	if base == "index" {
		return path.Base(path.Dir(file))
	}
	return base
}
