package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"

	tsgo "github.com/microsoft/typescript-go/slowburn"

	"github.com/slowburn/slowburn/slo"
)

// The names of our library's class and decorator.
const (
	instrumentName = "ErrorBudgetInstrument"
	decoratorName  = "SLO"
)

// vocabulary is the set of words by which sources may name our class and decorator: their own names, and those
// under which the tree exports them again.
type vocabulary struct {
	mu    sync.Mutex
	known map[string]bool
	next  words
}

func newVocabulary() *vocabulary {
	return &vocabulary{
		known: map[string]bool{instrumentName: true, decoratorName: true},
		next:  words{anywhere: [][]byte{[]byte(instrumentName), []byte("@" + decoratorName)}, whole: [][]byte{[]byte(decoratorName)}},
	}
}

// fresh takes the words that were added since it was last called.
func (v *vocabulary) fresh() words {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.next
	v.next = words{}
	return w
}

func (v *vocabulary) add(word string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if word != "" && !v.known[word] {
		v.known[word] = true
		v.next.whole = append(v.next.whole, []byte(word))
	}
}

func (v *vocabulary) has(word string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.known[word]
}

// visit looks at one file: cheaply at its bytes first, and at its tree if it may declare something.
func (s *scan) visit(ctx context.Context, name string, w words, buffer []byte) {
	s.mu.Lock()
	seen := s.done[name] || s.refused[name]
	s.mu.Unlock()
	if seen {
		return
	}
	hit, data, size, err := s.tree.sift(name, w, buffer)
	switch {
	case err != nil:
		s.refuse(name, "unreadable", fileFinding(ruleUnreadable, name, reasonOf(err)))
		return
	case !hit:
		if size > s.options.MaxFileBytes {
			s.tree.skip("too large, and without a declaration")
		}
		return
	case isMinified(name, data):
		s.tree.skip("minified")
		return
	}
	s.mu.Lock()
	s.candidates++
	s.mu.Unlock()
	s.examine(ctx, name)
}

// isMinified tells a bundle by its name or by its lines, which no person wrote.
func isMinified(name string, data []byte) bool {
	if !isJavaScript(name) {
		return false
	}
	return strings.Contains(path.Base(name), ".min.") || len(data) > 4096 && len(data)/(bytes.Count(data, []byte{'\n'})+1) > 400
}

func (s *scan) refuse(name, reason string, f slo.Finding) {
	s.mu.Lock()
	s.refused[name] = true
	s.mu.Unlock()
	s.tree.skip(reason)
	s.tree.report(f)
}

// examine parses a file and takes its declarations.
func (s *scan) examine(ctx context.Context, name string) {
	src, err := s.tree.openOnce(ctx, name)
	var deep *nestingError
	switch {
	case ctx.Err() != nil:
		return
	case errors.As(err, &deep):
		s.refuse(name, "nested too deep", s.refusedAt(name, deep))
		return
	case errors.Is(err, errTooLarge):
		why := fmt.Sprintf("the file may declare SLOs and is larger than %d MiB", s.options.MaxFileBytes>>20)
		f := fileFinding(ruleTooLarge, name, why)
		f.Pos.Line, f.Pos.Col = 1, 1
		s.refuse(name, "too large", f)
		return
	case errors.Is(err, errEncoding):
		s.refuse(name, "not text", fileFinding(ruleEncoding, name, "the file is "+err.Error()))
		return
	case err != nil:
		s.refuse(name, "unreadable", fileFinding(ruleUnreadable, name, reasonOf(err)))
		return
	}
	f := &finder{scan: s, ctx: ctx, src: src}
	f.run()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done[name] = true
	s.declarations = append(s.declarations, f.declarations...)
	s.suppressions = append(s.suppressions, f.suppressions...)
}

// refusedAt places the refusal of a file that was not parsed.
func (s *scan) refusedAt(name string, deep *nestingError) slo.Finding {
	text, err := s.tree.readText(name)
	if err != nil {
		return fileFinding(ruleTooDeep, name, "the file "+deep.why)
	}
	src := &source{path: name, text: text}
	return slo.Finding{Rule: ruleTooDeep, Severity: severityOf(ruleTooDeep), Pos: src.position(min(deep.offset, len(text))), Message: "the file " + deep.why + " and is not read", Remedy: remedyOf(ruleTooDeep)}
}

// finder takes the declarations of one file.
type finder struct {
	scan *scan
	ctx  context.Context //nolint:containedctx // a finder lives as long as the call that made it
	src  *source

	declarations []Declaration
	suppressions []suppression
}

func (f *finder) run() {
	f.walk(f.src.file.AsNode())
	f.comments()
	f.otherNames()
	f.lostMentions()
}

func (f *finder) walk(n *tsgo.Node) {
	switch n.Kind {
	case tsgo.KindNewExpression:
		f.construct(n)
	case tsgo.KindCallExpression:
		if n.Expression().Kind == tsgo.KindSuperKeyword {
			f.super(n)
		}
	case tsgo.KindDecorator:
		f.decorator(n)
	}
	n.ForEachChild(func(child *tsgo.Node) bool {
		f.walk(child)
		return false
	})
}

func (f *finder) construct(n *tsgo.Node) {
	callee := n.Expression()
	if !f.mayBeOurs(callee, 8) || !f.isOurs(callee, instrumentName) {
		return
	}
	f.declare("call", n, f.argument(n.Arguments()), "")
}

// super reads the options that a subclass of ours hands up.
func (f *finder) super(n *tsgo.Node) {
	owner := enclosingClass(n)
	if owner == nil {
		return
	}
	base, ok := superclass(place{f.src, owner})
	if !ok || !f.mayBeOurs(base.node, 8) || !f.isOurs(base.node, instrumentName) {
		return
	}
	f.declare("call", n, f.argument(n.Arguments()), "")
}

func (f *finder) decorator(n *tsgo.Node) {
	callee, args := n.Expression(), []*tsgo.Node(nil)
	if callee.Kind == tsgo.KindCallExpression {
		callee, args = callee.Expression(), callee.Arguments()
	}
	if !f.mayBeOurs(callee, 8) {
		return
	}
	e := newEvaluator(f.ctx, f.scan.tree)
	v := e.eval(place{f.src, callee})
	if !f.named(v, decoratorName) {
		return
	}
	argument := f.argument(args)
	// The tree's own decorator of that name may be about anything; an argument with a target says it is ours.
	if v.kind == function && v.at.node != nil && !f.hasTarget(argument) {
		return
	}
	f.declare("decorator", n, argument, symbolAt(n.Parent))
}

func (f *finder) hasTarget(argument place) bool {
	if argument.node == nil {
		return false
	}
	e := newEvaluator(f.ctx, f.scan.tree)
	_, names, _ := e.keys(e.eval(argument))
	for _, name := range names {
		if name == "target" || name == "sloTarget" {
			return true
		}
	}
	return false
}

// argument is the options argument, or a place without a node if there is none.
func (f *finder) argument(args []*tsgo.Node) place {
	if len(args) == 0 {
		return place{src: f.src}
	}
	return place{f.src, args[0]}
}

// isOurs reports whether a callee is our class: by the name that its package exports, by the name of a class of
// the tree, or by inheriting from it without a constructor of its own.
func (f *finder) isOurs(callee *tsgo.Node, name string) bool {
	e := newEvaluator(f.ctx, f.scan.tree)
	return f.named(e.eval(place{f.src, callee}), name)
}

func (f *finder) named(v value, name string) bool {
	switch v.kind {
	case outside, function, unknown:
		return v.text == name
	case choice:
		for _, alt := range v.alts {
			if f.named(alt, name) {
				return true
			}
		}
	case class:
		return f.classIsOurs(v, name)
	}
	return false
}

// classIsOurs follows extends. A class that calls super with options of its own declares them there, so that
// making one declares nothing.
func (f *finder) classIsOurs(v value, name string) bool {
	for range 16 {
		if v.text == name {
			return true
		}
		if hasConstructor(v.at.node) {
			return false
		}
		base, ok := superclass(v.at)
		if !ok {
			return false
		}
		v = newEvaluator(f.ctx, f.scan.tree).eval(base)
		if v.kind != class {
			return f.named(v, name)
		}
	}
	return false
}

func hasConstructor(class *tsgo.Node) bool {
	for _, m := range class.Members() {
		if m.Kind == tsgo.KindConstructor && m.Body() != nil {
			return true
		}
	}
	return false
}

// mayBeOurs answers from this file alone whether following an expression is worth while: most of what a file
// makes with new comes from somewhere that never names us.
func (f *finder) mayBeOurs(n *tsgo.Node, depth int) bool {
	n = unwrap(n)
	v := f.scan.vocabulary
	switch n.Kind {
	case tsgo.KindIdentifier:
		sym := tsgo.Resolve(n, n.Text())
		return v.has(n.Text()) || sym != nil && depth > 0 && f.symbolMayBeOurs(sym, depth-1)
	case tsgo.KindPropertyAccessExpression:
		return v.has(n.Name().Text()) || f.mayBeOurs(n.Expression(), depth)
	case tsgo.KindElementAccessExpression:
		return f.mentions(n) || f.mayBeOurs(n.Expression(), depth)
	case tsgo.KindClassExpression, tsgo.KindConditionalExpression, tsgo.KindAwaitExpression, tsgo.KindCallExpression, tsgo.KindBinaryExpression:
		return f.mentions(n)
	}
	return false
}

func (f *finder) symbolMayBeOurs(sym *tsgo.Symbol, depth int) bool {
	v := f.scan.vocabulary
	for _, d := range sym.Declarations {
		switch d.Kind {
		case tsgo.KindImportSpecifier:
			return v.has(importedName(d))
		case tsgo.KindImportClause, tsgo.KindImportEqualsDeclaration:
			return v.has(sym.Name) || v.has(stem(moduleOf(d))) || f.mentions(d)
		case tsgo.KindVariableDeclaration:
			return d.Initializer() != nil && (f.mentions(d.Initializer()) || f.mayBeOurs(d.Initializer(), depth))
		case tsgo.KindBindingElement:
			return f.mentions(d)
		case tsgo.KindClassDeclaration, tsgo.KindClassExpression:
			base, ok := superclass(place{f.src, d})
			return ok && f.mayBeOurs(base.node, depth)
		}
	}
	return false
}

// mentions reports whether the text of a node has a word of the vocabulary.
func (f *finder) mentions(n *tsgo.Node) bool {
	text := f.src.text[n.Pos():n.End()]
	for start := 0; start < len(text); {
		if !isIdentifierByte(text[start]) {
			start++
			continue
		}
		end := start
		for end < len(text) && isIdentifierByte(text[end]) {
			end++
		}
		if f.scan.vocabulary.has(text[start:end]) {
			return true
		}
		start = end
	}
	return false
}

// otherNames finds the names under which this file exports our class or decorator: whoever imports those is
// looked at in the next round.
func (f *finder) otherNames() {
	for _, name := range f.src.exportNames() {
		if f.scan.vocabulary.has(name) || name == tsgo.ExportStar || name == "" || !f.exportMayBeOurs(name) {
			continue
		}
		e := newEvaluator(f.ctx, f.scan.tree)
		v, ok := e.export(f.src.path, name)
		if !ok || !f.named(v, instrumentName) && !f.named(v, decoratorName) {
			continue
		}
		if name == tsgo.ExportDefault || name == tsgo.ExportEquals {
			name = stem(f.src.path)
		}
		f.scan.vocabulary.add(name)
	}
}

func (f *finder) exportMayBeOurs(name string) bool {
	sym := f.src.file.AsNode().Symbol()
	if sym == nil || sym.Exports[name] == nil {
		c := f.src.commonJS()
		return c.whole != nil && f.mentions(c.whole) || len(c.named[name]) > 0 && f.mentions(c.named[name][0])
	}
	for _, d := range sym.Exports[name].Declarations {
		switch d.Kind {
		case tsgo.KindExportSpecifier, tsgo.KindNamespaceExport:
			if f.scan.vocabulary.has(exportedFrom(d)) || moduleOf(d) == "" && f.localMayBeOurs(d) {
				return true
			}
		case tsgo.KindExportAssignment:
			if f.mayBeOurs(d.AsExportAssignment().Expression, 8) {
				return true
			}
		}
	}
	return f.symbolMayBeOurs(sym.Exports[name], 8)
}

func (f *finder) localMayBeOurs(specifier *tsgo.Node) bool {
	name := exportedFrom(specifier)
	sym := tsgo.Resolve(f.src.file.AsNode(), name)
	return sym != nil && f.symbolMayBeOurs(sym, 8)
}

// exportedFrom is the name that an export specifier gives away; a namespace has none.
func exportedFrom(d *tsgo.Node) string {
	if d.Kind == tsgo.KindNamespaceExport {
		return ""
	}
	return importedName(d)
}
