package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// ruleBook is a set of rules that are evaluated together, so that one may read what another records.
type ruleBook struct {
	name     string // "generated", or the rule file
	groups   []rulefmt.RuleGroup
	recorded map[string][]recording
}

// recording is one recording rule, parsed.
type recording struct {
	expr   parser.Expr
	labels map[string]string
}

// newRuleBook parses the recordings. Expressions that don't parse are left out: whoever loaded the rules has said so.
func newRuleBook(name string, groups []rulefmt.RuleGroup) *ruleBook {
	b := &ruleBook{name: name, groups: groups, recorded: map[string][]recording{}}
	p := parser.NewParser(parser.Options{})
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Record == "" {
				continue
			}
			if expr, err := p.ParseExpr(r.Expr); err == nil {
				all := maps.Clone(g.Labels)
				if all == nil {
					all = map[string]string{}
				}
				maps.Copy(all, r.Labels)
				b.recorded[r.Record] = append(b.recorded[r.Record], recording{expr, all})
			}
		}
	}
	return b
}

// shape is what is known of the labels of an expression's series: the values that some have for certain, the names that
// can be there at all, and, where open, that there may be others.
type shape struct {
	fixed map[string]string
	names map[string]bool
	open  bool
}

func openShape() shape {
	return shape{fixed: map[string]string{}, names: map[string]bool{}, open: true}
}

// maxShapeDepth bounds the walk: recordings may read each other in a circle.
const maxShapeDepth = 100

// shapeOf walks an expression.
func (b *ruleBook) shapeOf(e parser.Expr, depth int) shape {
	if depth > maxShapeDepth {
		return openShape()
	}
	switch e := e.(type) {
	case *parser.ParenExpr:
		return b.shapeOf(e.Expr, depth+1)
	case *parser.StepInvariantExpr:
		return b.shapeOf(e.Expr, depth+1)
	case *parser.UnaryExpr:
		return b.shapeOf(e.Expr, depth+1)
	case *parser.SubqueryExpr:
		return b.shapeOf(e.Expr, depth+1)
	case *parser.MatrixSelector:
		return b.shapeOf(e.VectorSelector, depth+1)
	case *parser.VectorSelector:
		return b.selected(e, depth)
	case *parser.AggregateExpr:
		return aggregated(b.shapeOf(e.Expr, depth+1), e)
	case *parser.BinaryExpr:
		return b.joined(e, depth)
	case *parser.Call:
		return b.called(e, depth)
	}
	return openShape()
}

// selected is the shape of the only recording that the selector can mean, or of series of which the matchers say what
// there is to say.
func (b *ruleBook) selected(e *parser.VectorSelector, depth int) shape {
	s := openShape()
	if one := b.meant(e); len(one) == 1 {
		s = b.shapeOf(one[0].expr, depth+1)
		for name, value := range one[0].labels {
			s.set(name, value)
		}
	}
	for _, m := range e.LabelMatchers {
		if m.Type == labels.MatchEqual && m.Name != labels.MetricName {
			s.set(m.Name, m.Value)
		}
	}
	return s
}

// meant lists the recordings that a selector can select.
func (b *ruleBook) meant(e *parser.VectorSelector) []recording {
	var all []recording
	for _, r := range b.recorded[e.Name] {
		contradicts := func(m *labels.Matcher) bool {
			value, has := r.labels[m.Name]
			return m.Name != labels.MetricName && has && !m.Matches(value)
		}
		if !slices.ContainsFunc(e.LabelMatchers, contradicts) {
			all = append(all, r)
		}
	}
	return all
}

func (s shape) set(name, value string) {
	s.names[name] = value != ""
	s.fixed[name] = value
}

func (s shape) keep(names []string) shape {
	kept := shape{fixed: map[string]string{}, names: map[string]bool{}}
	for _, name := range names {
		if value, ok := s.fixed[name]; ok {
			kept.set(name, value)
		} else if s.open || s.names[name] {
			kept.names[name] = true
		}
	}
	return kept
}

func (s shape) without(names []string) shape {
	kept := shape{fixed: maps.Clone(s.fixed), names: maps.Clone(s.names), open: s.open}
	for _, name := range names {
		kept.set(name, "")
	}
	return kept
}

func aggregated(s shape, e *parser.AggregateExpr) shape {
	switch {
	case e.Op == parser.TOPK || e.Op == parser.BOTTOMK || e.Op == parser.LIMITK || e.Op == parser.LIMIT_RATIO:
		return s
	case e.Op == parser.COUNT_VALUES:
		return openShape()
	case e.Without:
		return s.without(e.Grouping)
	}
	return s.keep(e.Grouping)
}

func (b *ruleBook) joined(e *parser.BinaryExpr, depth int) shape {
	if e.LHS.Type() == parser.ValueTypeScalar {
		return b.shapeOf(e.RHS, depth+1)
	}
	left := b.shapeOf(e.LHS, depth+1)
	switch m := e.VectorMatching; {
	case e.RHS.Type() == parser.ValueTypeScalar || m == nil:
		return left
	case e.Op == parser.LAND || e.Op == parser.LUNLESS:
		return left
	case e.Op == parser.LOR:
		return either(left, b.shapeOf(e.RHS, depth+1))
	case m.Card == parser.CardManyToOne && len(m.Include) == 0:
		return left
	case m.Card != parser.CardOneToOne:
		return openShape()
	case m.On:
		return left.keep(m.MatchingLabels)
	default:
		return left.without(m.MatchingLabels)
	}
}

// either is what is known of series that may be of one shape or of the other.
func either(a, b shape) shape {
	both := shape{fixed: map[string]string{}, names: maps.Clone(a.names), open: a.open || b.open}
	for name, there := range b.names {
		both.names[name] = both.names[name] || there
	}
	for name, value := range a.fixed {
		if other, ok := b.fixed[name]; ok && other == value {
			both.fixed[name] = value
		}
	}
	return both
}

// called passes on the shape of a function's series, where the function leaves labels alone.
func (b *ruleBook) called(e *parser.Call, depth int) shape {
	switch e.Func.Name {
	case "label_replace", "label_join", "info", "absent", "absent_over_time":
		return openShape()
	case "vector":
		return shape{fixed: map[string]string{}, names: map[string]bool{}}
	case "histogram_quantile":
		return b.shapeOf(e.Args[1], depth+1).without([]string{"le"})
	}
	for _, arg := range e.Args {
		if t := arg.Type(); t == parser.ValueTypeVector || t == parser.ValueTypeMatrix {
			return b.shapeOf(arg, depth+1)
		}
	}
	return openShape()
}

// mismatches finds the ands whose sides never carry the same labels.
func (b *ruleBook) mismatches(e parser.Expr) []string {
	var faults []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if and, ok := n.(*parser.BinaryExpr); ok && and.Op == parser.LAND && and.VectorMatching != nil {
			if fault := b.mismatch(and); fault != "" {
				faults = append(faults, fault)
			}
		}
		return nil
	})
	return faults
}

func (b *ruleBook) mismatch(e *parser.BinaryExpr) string {
	left, right := b.shapeOf(e.LHS, 0), b.shapeOf(e.RHS, 0)
	names := slices.Sorted(maps.Keys(either(left, right).names))
	for _, name := range names {
		if listed := slices.Contains(e.VectorMatching.MatchingLabels, name); listed != e.VectorMatching.On {
			continue
		}
		a, b := left.says(name), right.says(name)
		if a.known && b.known && a.value != b.value {
			return fmt.Sprintf("the sides of an and never match: label %s is %s on the left and %s on the right", name, a, b)
		}
	}
	return ""
}

// saying is what a shape knows of one label for certain.
type saying struct {
	known bool
	value string
}

func (s saying) String() string {
	if s.value == "" {
		return "absent"
	}
	return fmt.Sprintf("%q", s.value)
}

// says gives what is certain of a label. Of one that grouping keeps nothing is: series may have it or not.
func (s shape) says(name string) saying {
	if value, ok := s.fixed[name]; ok {
		return saying{true, value}
	}
	return saying{known: !s.open && !s.names[name]}
}
