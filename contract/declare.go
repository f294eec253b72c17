package contract

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tsgo "github.com/microsoft/typescript-go/slowburn"

	"github.com/slowburn/slowburn/slo"
)

// said is what a declaration states, read and checked. A zero field was left unsaid.
type said struct {
	name, service            string
	target                   slo.Target
	alert                    *slo.Threshold
	window                   time.Duration
	errors, total, metric    string
	latency                  time.Duration
	tenant                   Tenant
	tenantLabel              string
	record                   []time.Duration
	minFailures              *int
	policy, runbook, comment string
}

// spoken is what one key of a declaration holds.
type spoken struct {
	found
	pos slo.Position
	tag bool // it stands in a tag: numbers and lists are spelled as words
}

// reader turns what stands under the keys of one declaration into its fields.
type reader struct {
	*Declaration
	e    *evaluator
	look func(key string) spoken
	at   slo.Position
	src  *source
}

// declare reads a constructor call or a decorator.
func (f *finder) declare(kind string, n *tsgo.Node, argument place, symbol string) {
	pos := f.src.position(tsgo.Start(f.src.file, n))
	d := Declaration{File: pos.File, Line: pos.Line, Col: pos.Col, Kind: kind, Symbol: symbol, endLine: f.src.line(n.End()) + 1}
	e := newEvaluator(f.ctx, f.scan.tree)
	options := value{kind: object, layers: []value{}, at: argument}
	if argument.node != nil {
		options = e.argument(argument)
	}
	r := &reader{Declaration: &d, e: e, at: pos, src: f.src}
	r.look = func(key string) spoken {
		got := e.option(options, key)
		at := got.at.position()
		if got.at.node == nil || got.at.src.path != pos.File {
			at = pos
		}
		return spoken{found: got, pos: at}
	}
	keys, names, open := e.keys(options)
	for i, name := range names {
		r.checkKey(name, keys[i].at.position())
	}
	r.fields()
	if open && d.Error == "" {
		d.fail(Fault{Rule: ruleOpenSpread, Message: "the options take in an object that is not known here, which may say more", Pos: pos})
	}
	f.finish(d)
}

// argument evaluates the options of a call.
func (e *evaluator) argument(p place) value {
	if p.node.Kind == tsgo.KindSpreadElement {
		return dark(p, "the arguments are spread out of a list")
	}
	v := e.eval(p)
	if v.at.node == nil {
		v.at = p
	}
	return v
}

// option reads one key of the options, whichever of several objects they are.
func (e *evaluator) option(options value, key string) found {
	switch options.kind {
	case choice:
		var alts []value
		known := false
		for _, alt := range options.alts {
			got := e.option(alt, key)
			known = known || got.ok
			alts = append(alts, got.value)
		}
		return found{value: oneOf(alts...), at: options.at, ok: known}
	case unknown:
		return found{value: options, at: options.at, ok: true, open: true}
	case object:
		return e.find(options, key)
	case undefined:
		return found{value: undefinedValue()}
	case outside:
		return found{value: dark(options.at, "the options come from outside the tree"), at: options.at, ok: true, open: true}
	case class, instance, module, namespace:
		got := e.get(options, key, options.at)
		return found{value: got, at: options.at, ok: got.kind != undefined && got.kind != unknown}
	}
	v := dark(options.at, "the options are no object")
	return found{value: v, at: options.at, ok: true, open: true}
}

// declareTag reads one tag; base is where its comment begins in the file.
func (f *finder) declareTag(t tag, base, at int, in *tsgo.Node) {
	pos := f.src.position(base + at)
	c := span{base, base + t.end}
	symbol, scope := f.src.documented(c, in)
	d := Declaration{File: pos.File, Line: pos.Line, Col: pos.Col, Kind: "jsdoc", Symbol: symbol, endLine: f.src.line(base+t.end) + 1, Description: t.prose}
	if t.fault != "" {
		d.fail(Fault{Rule: ruleSyntax, Error: "syntax", Message: t.fault, Pos: f.src.position(base + t.faulty)})
		f.finish(d)
		return
	}
	e := newEvaluator(f.ctx, f.scan.tree)
	r := &reader{Declaration: &d, e: e, at: pos, src: f.src}
	host := place{f.src, scope}
	r.look = func(key string) spoken {
		for _, v := range slices.Backward(t.pairs) {
			if p := v; p.key == key {
				return f.spokenPair(e, p, base, host)
			}
		}
		if key == "name" && t.name != "" {
			return spoken{found: found{value: textOf(t.name), ok: true}, pos: pos, tag: true}
		}
		return spoken{found: found{value: undefinedValue()}, pos: pos}
	}
	for i, p := range t.pairs {
		r.checkKey(p.key, f.src.position(base+p.keyAt))
		r.checkTwice(t.pairs[:i], p, f.src.position(base+p.keyAt))
	}
	r.fields()
	f.finish(d)
}

func (r *reader) checkTwice(before []pair, p pair, pos slo.Position) {
	for _, q := range before {
		if q.key == p.key && q.value != p.value {
			r.fail(Fault{Rule: ruleAmbiguous, Error: "ambiguous", Field: fieldOf(p.key), Values: []any{q.value, p.value},
				Message: fmt.Sprintf("%s is said twice, as %s and as %s", p.key, q.value, p.value), Pos: pos})
		}
	}
}

// spokenPair is the value of one key=value.
func (f *finder) spokenPair(e *evaluator, p pair, base int, host place) spoken {
	pos := f.src.position(base + p.valueAt)
	if !p.code {
		return spoken{found: found{value: textOf(p.value), ok: true}, pos: pos, tag: true}
	}
	if err := prescan(p.value); err != nil {
		return spoken{found: found{value: darkAt(pos, "the expression "+err.Error()), ok: true}, pos: pos}
	}
	// {context.tenantId} is an expression; {budget: '2%'} is one with its braces.
	for _, frame := range [][2]string{{"(", ")"}, {"({", "})"}} {
		fragment := newSource(f.src.path, frame[0]+p.value+frame[1])
		fragment.host, fragment.shift = host, base+p.valueAt-len(frame[0])
		if len(tsgo.Faults(fragment.file)) > 0 || len(fragment.file.Statements.Nodes) != 1 {
			continue
		}
		at := place{fragment, fragment.file.Statements.Nodes[0].Expression()}
		return spoken{found: found{value: e.eval(at), at: at, ok: true}, pos: pos}
	}
	return spoken{found: found{value: darkAt(pos, "it is no expression"), ok: true}, pos: pos}
}

// finish adds a declaration to the file's, with what all of them share.
func (f *finder) finish(d Declaration) {
	d.Package = f.scan.tree.packageOf(dirOf(d.File))
	for i := range d.Faults {
		fault := &d.Faults[i]
		if fault.Pos.File == f.src.path {
			fault.Snippet = f.src.snippet(fault.Pos.Line)
		}
	}
	f.declarations = append(f.declarations, d)
}

// fail notes a fault. The first one that is an error is the declaration's error, and stands instead of values.
func (d *Declaration) fail(fault Fault) {
	if fault.Remedy == "" {
		fault.Remedy = remedyOf(fault.Rule)
	}
	d.Faults = append(d.Faults, fault)
	if d.Error != "" || fault.Error == "" {
		return
	}
	d.Error, d.Field, d.Values = fault.Error, fault.Field, fault.Values
}

// hideValues leaves an erroneous declaration without values.
func (d *Declaration) hideValues() {
	d.SLOTarget, d.BurnRateThreshold, d.Tenant, d.RecordingRules, d.Window, d.Service, d.Env = nil, nil, nil, nil, "", "", nil
}

// ourKeys are the keys a declaration may have, each with the name of its field in a Declaration.
var ourKeys = [...][2]string{
	{"name", "name"}, {"slo", "name"}, {"target", "sloTarget"}, {"sloTarget", "sloTarget"}, {"window", "window"},
	{"errors", "errors"}, {"total", "total"}, {"metric", "metric"}, {"threshold", "threshold"},
	{"burnRateThreshold", "burnRateThreshold"}, {"tenant", "tenant"}, {"tenantId", "tenant"}, {"tenantLabel", "tenantLabel"},
	{"recordingRules", "recordingRules"}, {"service", "service"}, {"minFailures", "minFailures"}, {"policy", "policy"},
	{"runbook", "runbook"}, {"runbookUrl", "runbook"}, {"description", "description"},
	// What the library reads at run time, and the contract does not.
	{"registry", ""}, {"maxTenants", ""},
}

func fieldOf(key string) string {
	for _, k := range ourKeys {
		if k[0] == key {
			return k[1]
		}
	}
	return key
}

func (r *reader) checkKey(key string, pos slo.Position) {
	nearest, best := "", 1<<30
	for _, k := range ourKeys {
		if k[0] == key {
			return
		}
		if d := distance(strings.ToLower(key), strings.ToLower(k[0])); d < best {
			nearest, best = k[0], d
		}
	}
	if pos.File == "" || pos.File != r.File {
		pos = r.at
	}
	r.fail(Fault{Rule: ruleUnknownKey, Error: "unknown-key", Field: key, Message: fmt.Sprintf("key %s is unknown", key), Remedy: "the nearest key is " + nearest, Pos: pos})
}

// distance is the number of letters to change, add or drop, or to swap with the next, between two words.
func distance(a, b string) int {
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		current := make([]int, len(b)+1)
		current[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			current[j+1] = min(previous[j+1]+1, current[j]+1, previous[j]+cost)
		}
		previous = current
	}
	return previous[len(b)]
}
