package contract

import (
	"slices"
	"strconv"

	tsgo "github.com/microsoft/typescript-go/slowburn"
)

// get reads a member of v, for the expression at p.
func (e *evaluator) get(v value, name string, p place) value {
	return v.each(func(v value) value {
		got := e.getOf(v, name, p)
		if got.kind == unknown {
			got.text = name
		}
		return got
	})
}

func (e *evaluator) getOf(v value, name string, p place) value {
	switch v.kind {
	case unknown:
		return v
	case undefined:
		if v.env != "" {
			return undefinedValue().withEnv(v.env)
		}
		return dark(p, "it is a member of undefined")
	case object:
		return e.find(v, name).value
	case list:
		return listMember(v, name, p)
	case textual:
		if name == "length" {
			return numberOf(float64(len([]rune(v.text))))
		}
	case class:
		return e.classMember(v, name, true, p)
	case instance:
		return e.classMember(v, name, false, p)
	case namespace:
		return e.namespaceMember(v, name, p)
	case module:
		return e.moduleMember(v.text, name, p)
	case outside:
		return outsideMember(v, name)
	case environment:
		return undefinedValue().withEnv(name)
	}
	return dark(p, "its value is known at run time only")
}

func listMember(v value, name string, p place) value {
	if name == "length" {
		return numberOf(float64(len(v.items)))
	}
	i, err := strconv.Atoi(name)
	switch {
	case err != nil:
		return dark(p, "it is no element of the list")
	case i < 0 || i >= len(v.items):
		return undefinedValue()
	}
	return v.items[i]
}

func outsideMember(v value, name string) value {
	return external(name, v.path+"."+name)
}

// external is what comes from outside the tree: mostly unknown, but the environment is known to be unset.
func external(name, path string) value {
	switch path {
	case "process.env", "globalThis.process.env", "import.meta.env", "Bun.env", "process#env", "process#default.env", "process#*.env":
		return value{kind: environment}
	}
	return value{kind: outside, text: name, path: path}
}

// found is what an object holds under a key, and the expression that says so.
type found struct {
	value
	at place
	ok bool
	// open means that nothing states the key, and something unknown that is laid over the object may hold it.
	open bool
}

// part is one entry of an object: a property, or a whole object laid over what stands before it.
type part struct {
	place
	laid *value
}

func parts(v value) []part {
	var all []part
	for i := range v.layers {
		all = append(all, part{place: v.layers[i].at, laid: &v.layers[i]})
	}
	if v.layers == nil && v.at.node != nil {
		for _, node := range v.at.node.Properties() {
			all = append(all, part{place: v.at.with(node)})
		}
	}
	return all
}

// find looks a key up in whatever may be spread into an object. What stands later wins; what is not known
// hides what stands before it.
func (e *evaluator) find(v value, name string) found {
	switch v.kind {
	case object:
		if slices.Contains(v.minus, name) {
			return found{value: undefinedValue()}
		}
		return e.findIn(parts(v), name)
	case unknown:
		if v.falsy {
			return found{value: undefinedValue()}
		}
		why := "what is spread here is not known: " + v.why
		return found{value: value{why: why, whyAt: v.whyAt, at: v.at, param: v.param}, at: v.at, ok: true}
	case instance, namespace, module, environment:
		got := e.get(v, name, v.at)
		return found{value: got, at: got.at, ok: !(got.kind == undefined && got.env == "")}
	case outside:
		return found{value: dark(v.at, "what is spread here comes from outside the tree"), at: v.at, ok: true}
	}
	return found{value: undefinedValue()}
}

func (e *evaluator) findIn(entries []part, name string) found {
	for i, entrie := range slices.Backward(entries) {
		laid, isLaid := e.laidOver(entrie)
		if isLaid && laid.kind == choice {
			return e.findInEither(laid, entries[:i], entrie.place, name)
		}
		var got found
		if isLaid {
			got = e.find(laid, name)
		} else {
			got = e.property(entrie.place, name)
		}
		if got.ok && isLaid && (laid.kind == unknown || laid.kind == outside) {
			got.open = !e.findIn(entries[:i], name).states()
		}
		if got.ok {
			return got
		}
	}
	return found{value: undefinedValue()}
}

// states reports whether the key is certainly written somewhere.
func (f found) states() bool { return f.ok && !f.open }

// laidOver is the object that a spread lays over the entries before it.
func (e *evaluator) laidOver(entry part) (value, bool) {
	if entry.laid != nil {
		return *entry.laid, true
	}
	if entry.node.Kind != tsgo.KindSpreadAssignment {
		return value{}, false
	}
	v := e.eval(entry.with(entry.node.Expression()))
	if v.at.node == nil || v.kind == unknown {
		v.at = entry.with(entry.node.Expression())
	}
	return v, true
}

func (e *evaluator) findInEither(laid value, before []part, p place, name string) found {
	rest := e.findIn(before, name)
	var alts []value
	known := rest.ok
	for _, alt := range laid.alts {
		got := e.find(alt, name)
		if !got.ok {
			got.value = rest.value
		} else {
			known = true
		}
		alts = append(alts, got.value)
	}
	return found{value: oneOf(alts...), at: p, ok: known}
}

// property reads one property of a literal, if it has that name.
func (e *evaluator) property(p place, name string) found {
	n := p.node
	if key, known := e.key(p); !known {
		return found{value: dark(p, "a computed key that is not constant may set it"), at: p, ok: true}
	} else if key != name {
		return found{}
	}
	switch n.Kind {
	case tsgo.KindPropertyAssignment:
		at := p.with(n.Initializer())
		return found{value: e.eval(at), at: at, ok: true}
	case tsgo.KindShorthandPropertyAssignment:
		at := p.with(n.Name())
		return found{value: e.lookup(at, n.Name().Text()), at: at, ok: true}
	case tsgo.KindMethodDeclaration:
		return found{value: value{kind: function, at: p, text: name}, at: p, ok: true}
	case tsgo.KindGetAccessor:
		return found{value: dark(p, "a getter computes it at run time"), at: p, ok: true}
	}
	return found{}
}

// key is the name of a property or a class member.
func (e *evaluator) key(p place) (string, bool) {
	name := p.node.Name()
	if name == nil {
		return "", true
	}
	if name.Kind != tsgo.KindComputedPropertyName {
		return nameOf(p.node), true
	}
	return e.eval(p.with(name.Expression())).spelled()
}

// keys lists the keys that an object certainly or possibly has, with their places. Open means that there may
// be others.
func (e *evaluator) keys(v value) (all []found, names []string, open bool) {
	switch v.kind {
	case choice:
		for _, alt := range v.alts {
			f, n, o := e.keys(alt)
			all, names, open = append(all, f...), append(names, n...), open || o
		}
		return all, names, open
	case unknown:
		return nil, nil, !v.falsy
	case object:
	default:
		return nil, nil, v.kind == outside || v.kind == environment
	}
	for _, entry := range parts(v) {
		if laid, ok := e.laidOver(entry); ok {
			f, n, o := e.keys(laid)
			open = open || o
			for i := range n {
				if !slices.Contains(v.minus, n[i]) {
					all, names = append(all, f[i]), append(names, n[i])
				}
			}
			continue
		}
		name, known := e.key(entry.place)
		if !known {
			open = true
			continue
		}
		if !slices.Contains(v.minus, name) {
			all, names = append(all, found{at: entry.place}), append(names, name)
		}
	}
	return all, names, open
}

// classMember reads a static or an instance property. A property that anything assigns to is unknown, unless
// the one assignment is its initialisation, in a static block or the constructor.
func (e *evaluator) classMember(v value, name string, static bool, p place) value {
	assigned := e.tree.writesOf(v.at.src).member(v.at.node, name, static)
	var declared *tsgo.Node
	for _, m := range v.at.node.Members() {
		if tsgo.IsStatic(m) != static || m.Kind == tsgo.KindClassStaticBlockDeclaration || m.Kind == tsgo.KindConstructor {
			continue
		}
		if key, known := e.key(v.at.with(m)); known && key == name {
			declared = m
		}
	}
	if declared == nil {
		return e.inheritedMember(v, name, static, assigned, p)
	}
	at := v.at.with(declared)
	switch declared.Kind {
	case tsgo.KindMethodDeclaration:
		return value{kind: function, at: at, text: name}
	case tsgo.KindGetAccessor, tsgo.KindSetAccessor:
		return dark(at, "a getter computes it at run time")
	}
	initial := declared.Initializer()
	switch {
	case initial != nil && len(assigned) == 0:
		e.note(at, "property "+v.text+"."+name)
		return e.eval(v.at.with(initial))
	case initial == nil && len(assigned) == 1 && isInitialisation(assigned[0]):
		return e.eval(v.at.with(assigned[0].AsBinaryExpression().Right))
	case len(assigned) > 0:
		return dark(v.at.with(assigned[0]), name+" is assigned after its declaration")
	}
	return dark(at, name+" has no initial value")
}

func (e *evaluator) inheritedMember(v value, name string, static bool, assigned []*tsgo.Node, p place) value {
	if len(assigned) > 0 {
		return dark(v.at.with(assigned[0]), name+" is assigned at run time")
	}
	if base, ok := superclass(v.at); ok {
		parent := e.eval(base)
		if parent.kind == class && !static {
			parent.kind = instance
		}
		if parent.kind == class || parent.kind == instance {
			return e.get(parent, name, p)
		}
	}
	return dark(p, "the class declares no "+name)
}

// superclass is the expression after extends.
func superclass(p place) (place, bool) {
	data := p.node.ClassLikeData()
	if data == nil || data.HeritageClauses == nil {
		return place{}, false
	}
	for _, clause := range data.HeritageClauses.Nodes {
		h := clause.AsHeritageClause()
		if h.Token == tsgo.KindExtendsKeyword && len(h.Types.Nodes) > 0 {
			return p.with(h.Types.Nodes[0].Expression()), true
		}
	}
	return place{}, false
}

// isInitialisation reports whether an assignment stands directly in a constructor or a static block, where
// nothing decides whether it runs.
func isInitialisation(n *tsgo.Node) bool {
	if n.Kind != tsgo.KindBinaryExpression || n.AsBinaryExpression().OperatorToken.Kind != tsgo.KindEqualsToken {
		return false
	}
	if n.Parent.Kind != tsgo.KindExpressionStatement || n.Parent.Parent.Kind != tsgo.KindBlock {
		return false
	}
	owner := n.Parent.Parent.Parent
	return owner.Kind == tsgo.KindConstructor || owner.Kind == tsgo.KindClassStaticBlockDeclaration
}
