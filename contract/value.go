package contract

import (
	"math"
	"slices"
	"strconv"

	"github.com/slowburn/slowburn/slo"
)

// kind says what a value is.
type kind int

const (
	unknown     kind = iota // can't be told from the sources; why says the reason
	undefined               // also what an environment variable is: unset, with its name in env
	null                    //
	boolean                 //
	number                  //
	textual                 //
	object                  // an object literal, or several in layers
	list                    // an array literal
	class                   // a class of the tree; at is its declaration
	instance                // an instance of such a class
	function                // a function of the tree
	namespace               // a namespace or an enum; members come from symbol
	module                  // a file of the tree as a namespace object; text is its path
	outside                 // something of a package outside the tree, or a global; text is its name
	environment             // process.env
	choice                  // one of alts, and the sources do not say which
)

// value is what an expression yields, as far as the sources tell. Objects are lazy: a member is evaluated when
// it is asked for, so that one unreadable member spoils no other.
type value struct {
	kind kind
	num  float64
	yes  bool
	text string // of a text; the name or path of class, function, module and outside; the last name read of an unknown
	path string // of an outside: where it comes from, Object.freeze or @acme/slo#ErrorBudgetInstrument
	env  string // the environment variable whose default this is

	at     place // the expression, or the declaration
	layers []value
	minus  []string // keys that an object rest pattern took away
	items  []value
	alts   []value
	symbol symbolOf // of a namespace

	why   string       // of an unknown: the reason, a clause that fits behind a colon
	whyAt slo.Position // and where
	falsy bool         // of an unknown: it is null, false or the like
	param bool         // of an unknown: it is a function's parameter
}

func (v value) withEnv(names ...string) value {
	for _, name := range names {
		if v.env == "" {
			v.env = name
		}
	}
	return v
}

func numberOf(f float64) value  { return value{kind: number, num: f} }
func textOf(s string) value     { return value{kind: textual, text: s} }
func booleanOf(yes bool) value  { return value{kind: boolean, yes: yes} }
func undefinedValue() value     { return value{kind: undefined} }
func (v value) isNullish() bool { return v.kind == undefined || v.kind == null }

// truth says whether v counts as true, and whether that is known.
func (v value) truth() (yes, known bool) {
	switch v.kind {
	case unknown:
		return false, v.falsy
	case undefined, null:
		return false, true
	case boolean:
		return v.yes, true
	case number:
		return v.num != 0 && !math.IsNaN(v.num), true
	case textual:
		return v.text != "", true
	case outside, choice:
		return false, false
	}
	return true, true
}

// spelled is v as a template string shows it, if v is a plain value.
func (v value) spelled() (string, bool) {
	switch v.kind {
	case undefined:
		return "undefined", true
	case null:
		return "null", true
	case boolean:
		return strconv.FormatBool(v.yes), true
	case number:
		return spellNumber(v.num), true
	case textual:
		return v.text, true
	}
	return "", false
}

func spellNumber(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return slo.FormatNumber(f)
}

// plain is v as JSON shows it among the values of an ambiguous field.
func (v value) plain() any {
	switch v.kind {
	case boolean:
		return v.yes
	case number:
		if math.IsNaN(v.num) || math.IsInf(v.num, 0) {
			return spellNumber(v.num)
		}
		return round(v.num)
	case textual:
		return v.text
	}
	return nil
}

// round drops the noise of binary arithmetic: 99.9/100 is 0.999.
func round(f float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 12, 64), 64)
	if err != nil {
		return f
	}
	return r
}

// maxAlternatives bounds how many values one expression may have before it counts as unknown.
const maxAlternatives = 16

// oneOf is the value that is one of alts: the only one, where they are all the same; unknown, where one is.
func oneOf(alts ...value) value {
	var flat []value
	for _, a := range alts {
		nested := []value{a}
		if a.kind == choice {
			nested = a.alts
		}
		for _, n := range nested {
			if !slices.ContainsFunc(flat, n.same) {
				flat = append(flat, n)
			}
		}
	}
	for _, a := range flat {
		if a.kind == unknown && !a.falsy {
			return a
		}
	}
	switch {
	case len(flat) == 1:
		return flat[0]
	case len(flat) > maxAlternatives:
		return value{why: "it has too many possible values"}
	}
	return value{kind: choice, alts: flat}
}

// same reports whether two values can't be told apart. Objects are the same if they are written at one place.
func (v value) same(w value) bool {
	if v.kind != w.kind {
		return false
	}
	switch v.kind {
	case undefined, null, environment:
		return true
	case boolean:
		return v.yes == w.yes
	case number:
		return v.num == w.num
	case textual, outside, module:
		return v.text == w.text
	}
	return v.at == w.at && v.at.node != nil
}

// each applies f to v, or to every alternative of it.
func (v value) each(f func(value) value) value {
	if v.kind != choice {
		return f(v)
	}
	results := make([]value, 0, len(v.alts))
	for _, a := range v.alts {
		results = append(results, f(a))
	}
	return oneOf(results...)
}
