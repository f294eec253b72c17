package drift

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/slo"
)

// normal writes an expression so that those which mean the same read the same: matchers and grouping sorted, numbers
// computed, parentheses where operators meet and nowhere else.
func normal(e parser.Expr) string {
	raw := terms{recordings: func(*parser.VectorSelector) []recording { return nil }}
	return raw.normal(e)
}

func (r terms) normal(e parser.Expr) string {
	switch e := e.(type) {
	case *parser.ParenExpr:
		return r.normal(e.Expr)
	case *parser.StepInvariantExpr:
		return r.normal(e.Expr)
	case *parser.NumberLiteral:
		if n, ok := rational(e.Val); ok {
			return decimal(n)
		}
	case *parser.VectorSelector:
		return selector(e)
	case *parser.MatrixSelector:
		return fmt.Sprintf("%s[%s]", selector(e.VectorSelector.(*parser.VectorSelector)), slo.FormatWindow(e.Range))
	case *parser.SubqueryExpr:
		return fmt.Sprintf("(%s)[%s:%s]%s", r.normal(e.Expr), slo.FormatWindow(e.Range), e.Step, e.OriginalOffset)
	case *parser.UnaryExpr:
		return e.Op.String() + "(" + r.normal(e.Expr) + ")"
	case *parser.AggregateExpr:
		return r.normalAggregate(e)
	case *parser.Call:
		var args []string
		for _, a := range e.Args {
			args = append(args, r.normal(a))
		}
		return e.Func.Name + "(" + strings.Join(args, ", ") + ")"
	case *parser.BinaryExpr:
		return r.normalBinary(e)
	}
	return e.String()
}

func (r terms) normalAggregate(e *parser.AggregateExpr) string {
	grouping := slices.Clone(e.Grouping)
	slices.Sort(grouping)
	word := ""
	if e.Without {
		word = " without (" + strings.Join(grouping, ", ") + ")"
	} else if len(grouping) > 0 {
		word = " by (" + strings.Join(grouping, ", ") + ")"
	}
	param := ""
	if e.Param != nil {
		param = r.normal(e.Param) + ", "
	}
	return e.Op.String() + word + "(" + param + r.normal(e.Expr) + ")"
}

func (r terms) normalBinary(e *parser.BinaryExpr) string {
	if !e.Op.IsComparisonOperator() && e.LHS.Type() == parser.ValueTypeScalar && e.RHS.Type() == parser.ValueTypeScalar {
		if t := r.value(e); t.isConstant() {
			return decimal(t.offset)
		}
	}
	left, right, op := r.normal(e.LHS), r.normal(e.RHS), e.Op
	if e.LHS.Type() == parser.ValueTypeScalar && mirrored(op) != op {
		left, right, op = right, left, mirrored(op)
	}
	word := op.String()
	if e.ReturnBool {
		word += " bool"
	}
	return "(" + left + " " + word + matching(e.VectorMatching) + " " + right + ")"
}

// matching writes on, ignoring and group clauses, sorted.
func matching(m *parser.VectorMatching) string {
	if m == nil {
		return ""
	}
	list := func(names []string) string {
		names = slices.Clone(names)
		slices.Sort(names)
		return "(" + strings.Join(names, ", ") + ")"
	}
	text := ""
	switch {
	case m.On:
		text = " on" + list(m.MatchingLabels)
	case len(m.MatchingLabels) > 0:
		text = " ignoring" + list(m.MatchingLabels)
	}
	switch m.Card {
	case parser.CardManyToOne:
		text += " group_left" + list(m.Include)
	case parser.CardOneToMany:
		text += " group_right" + list(m.Include)
	}
	return text
}

func selector(s *parser.VectorSelector) string {
	var all []string
	for _, name := range names(s.LabelMatchers) {
		if name != labels.MetricName || s.Name == "" {
			all = append(all, canonicalAll(on(s.LabelMatchers, name))...)
		}
	}
	text := s.Name + "{" + strings.Join(all, ",") + "}"
	if s.OriginalOffset != 0 {
		text += " offset " + s.OriginalOffset.String()
	}
	if s.Timestamp != nil {
		text += " @ " + big.NewInt(*s.Timestamp).String()
	}
	if s.StartOrEnd != 0 {
		text += " @ " + s.StartOrEnd.String() + "()"
	}
	return text
}

// differing shows where two texts part, with a little of what stands before.
func differing(a, b string) (string, string) {
	const lead = 60
	common := 0
	for common < min(len(a), len(b)) && a[common] == b[common] {
		common++
	}
	if common <= lead {
		return clip(a), clip(b)
	}
	return clip("…" + strings.ToValidUTF8(a[common-lead:], "")), clip("…" + strings.ToValidUTF8(b[common-lead:], ""))
}

// faults are rules that can't do what they are for, whatever the contract says.
func (s *ruleset) faults() []slo.Finding {
	var all []slo.Finding
	seen := map[string]slo.Position{}
	for _, r := range s.rules {
		if before, twice := seen[r.key()]; twice && r.isOwn() {
			all = append(all, slo.Finding{
				Rule: ruleFaulty, Severity: slo.Warning, Pos: r.pos, Related: []slo.Position{before},
				Message: fmt.Sprintf("%s of %s/%s stands twice", kind(r), r.labels["service"], r.labels["slo"]), Remedy: "keep one of the two",
			})
		}
		seen[r.key()] = r.pos
		if r.alert != "" {
			all = append(all, s.alertFaults(r)...)
		}
	}
	return all
}

func (s *ruleset) alertFaults(r recording) (all []slo.Finding) {
	follow := terms{recordings: func(v *parser.VectorSelector) []recording {
		return slices.DeleteFunc(slices.Clone(s.byName[v.Name]), func(r recording) bool { return !r.meant(v) })
	}}
	if slices.ContainsFunc(follow.conditions(r.expr), func(conditions []condition) bool { return len(conditions) == 0 }) {
		all = append(all, slo.Finding{
			Rule: ruleFaulty, Severity: slo.Warning, Pos: r.pos, Message: "alert " + r.alert + " fires whatever the value is: a comparison with bool gives a sample either way",
			Remedy: "take the bool away",
		})
	}
	if s.partial {
		return all
	}
	parser.Inspect(r.expr, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if ok && strings.Contains(v.Name, ":") && !slices.ContainsFunc(s.byName[v.Name], func(r recording) bool { return r.meant(v) }) {
			all = append(all, slo.Finding{
				Rule: ruleFaulty, Severity: slo.Warning, Pos: r.pos, Message: clip(fmt.Sprintf("alert %s reads %s, and no rule records it", r.alert, selector(v))),
				Remedy: "record it, or correct the name and labels",
			})
		}
		return nil
	})
	return all
}
