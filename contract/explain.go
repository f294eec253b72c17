package contract

import (
	"fmt"
	"strings"

	"github.com/slowburn/slowburn/slo"
)

// Step is one step of the way from a declaration to a value.
type Step struct {
	Field string       `json:"field"`
	Text  string       `json:"text"`
	Pos   slo.Position `json:"position"`
}

// trace keeps the steps by which a field was resolved, and its result.
func (r *reader) trace(field string, got spoken) {
	for _, s := range r.e.trace {
		s.Field = field
		r.steps = append(r.steps, s)
	}
	r.steps = append(r.steps, Step{Field: field, Text: r.outcome(got), Pos: got.pos})
	r.e.trace, r.e.noted = nil, map[Step]bool{}
}

func (r *reader) outcome(got spoken) string {
	var text string
	switch s, ok := got.spelled(); {
	case got.kind == unknown || got.kind == outside:
		return "can't be resolved: " + r.reason(got)
	case got.kind == textual:
		text = fmt.Sprintf("is %q", got.text)
	case got.kind == number:
		text = "is " + slo.FormatNumber(round(got.num))
	case ok:
		text = "is " + s
	case got.kind == list:
		var items []string
		for _, item := range got.items {
			s, _ := item.spelled()
			items = append(items, s)
		}
		text = "is [" + strings.Join(items, ", ") + "]"
	case got.kind == choice:
		text = "may be one of several values"
	default:
		text = "is an object"
	}
	if got.env != "" {
		text += ", unless the environment variable " + got.env + " is set"
	}
	return text
}

// Explain says step by step how each value of a declaration was resolved: of the one that begins on the line,
// or that stands around it. It is false where no declaration does.
func (r *Result) Explain(file string, line int) ([]Step, bool) {
	var best *Declaration
	for i := range r.Declarations {
		d := &r.Declarations[i]
		if d.File != file || line < d.Line || line > max(d.endLine, d.Line) {
			continue
		}
		if best == nil || d.Line > best.Line {
			best = d
		}
	}
	if best == nil {
		return nil, false
	}
	steps := append([]Step(nil), best.steps...)
	for _, fault := range best.Faults {
		if fault.Error == "unresolved" {
			continue // the last step of its field says so
		}
		steps = append(steps, Step{Field: fault.Field, Text: fault.Message, Pos: fault.Pos})
	}
	return steps, true
}
