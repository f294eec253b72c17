package evaluator

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
)

// The names of the series that alerting rules write.
const (
	alertsName   = "ALERTS"
	forStateName = "ALERTS_FOR_STATE"
)

// group is a rule group, checked and parsed.
type group struct {
	index  int
	name   string
	offset time.Duration
	limit  int
	ticks  Ticks
	rules  []*rule
}

// rule is a rule, checked and parsed. Its expression is never changed: whoever rewrites one parses query again.
type rule struct {
	group     *group
	index     int
	name      string
	alert     bool
	query     string // the expression in upstream's own spelling
	expr      parser.Expr
	selectors []selector
	labels    labels.Labels
	hold      time.Duration
	keep      time.Duration
	source    rulefmt.Rule
}

// selector is what a rule reads.
type selector struct {
	matchers []*labels.Matcher
	// wanders says that it may read samples that are younger than the tick, or that it is not moved by the tick:
	// a negative offset, or @.
	wanders bool
}

// specify checks and parses the groups, reporting every fault.
func specify(groups *rulefmt.RuleGroups, o ReplayOptions) ([]*group, error) {
	var (
		specs []*group
		errs  []error
		p     = parser.NewParser(parser.Options{})
	)
	for i, g := range groups.Groups {
		interval := time.Duration(g.Interval)
		if interval <= 0 {
			interval = o.Interval
		}
		spec := &group{index: i, name: g.Name, limit: g.Limit}
		if g.QueryOffset != nil {
			spec.offset = time.Duration(*g.QueryOffset)
		}
		if interval%time.Millisecond != 0 || spec.offset%time.Millisecond != 0 {
			errs = append(errs, fmt.Errorf("group %q: interval %s and query_offset %s must be whole milliseconds", g.Name, interval, spec.offset))
			continue
		}
		spec.ticks = spec.slots(interval, o)
		for j, r := range g.Rules {
			parsed, err := specifyRule(spec, j, r, g.Labels, p)
			if err != nil {
				errs = append(errs, fmt.Errorf("group %q, rule %d, %q: %w", g.Name, j+1, r.Alert+r.Record, err))
				continue
			}
			spec.rules = append(spec.rules, parsed)
		}
		specs = append(specs, spec)
	}
	return specs, errors.Join(errs...)
}

var errNameless = errors.New("set one of record and alert")

func specifyRule(g *group, index int, r rulefmt.Rule, groupLabels map[string]string, p parser.Parser) (*rule, error) {
	if (r.Record == "") == (r.Alert == "") {
		return nil, errNameless
	}
	expr, err := p.ParseExpr(r.Expr)
	if err != nil {
		return nil, err
	}
	if t := expr.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		return nil, fmt.Errorf("the expression yields a %s, not a vector", parser.DocumentedType(t))
	}
	return &rule{
		group: g, index: index, name: r.Record + r.Alert, alert: r.Alert != "",
		query: expr.String(), expr: expr, selectors: selectorsOf(expr),
		labels: rules.FromMaps(groupLabels, r.Labels),
		hold:   time.Duration(r.For), keep: time.Duration(r.KeepFiringFor),
		source: r,
	}, nil
}

// slots lists the group's ticks.
func (g *group) slots(interval time.Duration, o ReplayOptions) Ticks {
	first := o.Start
	if !o.AtStart {
		slotted := rules.NewGroup(rules.GroupOptions{Name: g.name, File: o.File, Interval: interval})
		first = slotted.EvalTimestamp(o.Start.UnixNano())
		if first.Before(o.Start) {
			first = first.Add(interval)
		}
	}
	n := 0
	if !first.After(o.End) {
		n = int(o.End.Sub(first)/interval) + 1
	}
	return Ticks{Start: first.UTC(), Interval: interval, N: n}
}

// queryTime is the timestamp, in milliseconds, of what the group reads and writes at tick i.
func (g *group) queryTime(i int) int64 { return timestamp.FromTime(g.ticks.At(i).Add(-g.offset)) }

func selectorsOf(expr parser.Expr) []selector {
	var all []selector
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		vs, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		s := selector{matchers: vs.LabelMatchers, wanders: vs.OriginalOffset < 0 || vs.OriginalOffsetExpr != nil || fixed(vs.Timestamp, vs.StartOrEnd)}
		for _, p := range path {
			if sub, ok := p.(*parser.SubqueryExpr); ok && (sub.OriginalOffset < 0 || sub.OriginalOffsetExpr != nil || fixed(sub.Timestamp, sub.StartOrEnd)) {
				s.wanders = true
			}
		}
		all = append(all, s)
		return nil
	})
	return all
}

func fixed(at *int64, startOrEnd parser.ItemType) bool {
	return at != nil || startOrEnd == parser.START || startOrEnd == parser.END
}

// writes lists the names of the series that r writes.
func (r *rule) writes() []string {
	if r.alert {
		return []string{alertsName, forStateName}
	}
	return []string{r.name}
}

// static is the value that r gives to the label in all that it writes, if it gives one.
func (r *rule) static(label string) (string, bool) {
	if r.alert && label == labels.AlertName {
		return r.name, true
	}
	if !r.labels.Has(label) {
		return "", false
	}
	v := r.labels.Get(label)
	return v, !r.alert || !strings.Contains(v, "{{")
}

// mayWrite reports whether r might write a series of that name which the matchers select.
func (r *rule) mayWrite(name string, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		v, known := name, true
		if m.Name != labels.MetricName {
			v, known = r.static(m.Name)
		}
		if known && !m.Matches(v) {
			return false
		}
	}
	return true
}

// reads reports whether the selector might read what w writes.
func (s selector) reads(w *rule) bool {
	for _, name := range w.writes() {
		if w.mayWrite(name, s.matchers) {
			return true
		}
	}
	return false
}

// couldHaveWritten reports whether r might have written the series.
func (r *rule) couldHaveWritten(series labels.Labels) bool {
	name := series.Get(labels.MetricName)
	if r.alert && name != alertsName && name != forStateName || !r.alert && name != r.name {
		return false
	}
	if r.alert && series.Get(labels.AlertName) != r.name {
		return false
	}
	possible := true
	r.labels.Range(func(l labels.Label) {
		if v, known := r.static(l.Name); known && series.Get(l.Name) != v {
			possible = false
		}
	})
	return possible
}
