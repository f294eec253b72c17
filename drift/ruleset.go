package drift

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

// recording is a rule, of either kind: record or alert is its name.
type recording struct {
	record, alert string
	group         string
	expr          parser.Expr
	labels        map[string]string
	hold          time.Duration
	pos           slo.Position
}

func (r recording) name() string { return cmp.Or(r.record, r.alert) }

// key names what a rule makes: its name and labels.
func (r recording) key() string {
	var b strings.Builder
	b.WriteString(r.name())
	for _, name := range slices.Sorted(maps.Keys(r.labels)) {
		fmt.Fprintf(&b, "\x00%s=%s", name, r.labels[name])
	}
	return b.String()
}

// meant reports whether a selector takes what the rule records.
func (r recording) meant(s *parser.VectorSelector) bool {
	return r.record == s.Name && !slices.ContainsFunc(s.LabelMatchers, func(m *labels.Matcher) bool {
		value, has := r.labels[m.Name]
		return has && !m.Matches(value)
	})
}

// beyond are the matchers of a selector that the rule's own labels do not answer.
func (r recording) beyond(s *parser.VectorSelector) []*labels.Matcher {
	var rest []*labels.Matcher
	for _, m := range withoutName(s.LabelMatchers) {
		if _, has := r.labels[m.Name]; !has {
			rest = append(rest, m)
		}
	}
	return rest
}

// ruleset is every rule that one Prometheus evaluates, or that a set of files holds.
type ruleset struct {
	rules    []recording
	byName   map[string][]recording // of those that record
	findings []slo.Finding
	partial  bool // something of it can't be read, so that what is not here may be there
}

// The largest expression that is read. Nested parentheses cost stack.
const maxExpr = 64 << 10

func parseExpr(text string) (parser.Expr, error) {
	if len(text) > maxExpr {
		return nil, fmt.Errorf("the expression is longer than %d KiB", maxExpr>>10)
	}
	return parser.NewParser(parser.Options{EnableExperimentalFunctions: true}).ParseExpr(text)
}

func readRules(fsys fs.FS, files []string) *ruleset {
	set := &ruleset{}
	for _, file := range files {
		d, f := readDocument(fsys, file)
		if f != nil {
			set.unread(f.finding(ruleUnreadRules, "mend the rule file; promtool check rules says more"))
			continue
		}
		set.read(d)
	}
	set.index()
	return set
}

func (s *ruleset) unread(f slo.Finding) {
	s.findings = append(s.findings, f)
	s.partial = true
}

func (s *ruleset) index() {
	s.byName = map[string][]recording{}
	for _, r := range s.rules {
		if r.record != "" {
			s.byName[r.record] = append(s.byName[r.record], r)
		}
	}
}

// read takes the groups of a rule file, or of the Prometheus Operator's resources.
func (s *ruleset) read(d *document) {
	for _, tree := range d.trees {
		groups := find(tree, "groups")
		if groups.key == nil {
			groups = find(tree, "spec", "groups")
		}
		for _, g := range items(groups.value) {
			for _, n := range items(find(g, "rules").value) {
				s.rule(d, text(find(g, "name").value), n)
			}
		}
	}
}

func (s *ruleset) rule(d *document, group string, n *yaml.Node) {
	r := recording{group: group, record: text(find(n, "record").value), alert: text(find(n, "alert").value), labels: map[string]string{}}
	expression := find(n, "expr")
	r.pos = d.position(cmp.Or(expression.key, n))
	if named := find(n, "record"); named.key != nil {
		r.pos = d.position(named.key)
	} else if named := find(n, "alert"); named.key != nil {
		r.pos = d.position(named.key)
	}
	for _, p := range pairs(find(n, "labels").value) {
		r.labels[p.key.Value] = text(p.value)
	}
	if hold := text(find(n, "for").value); hold != "" {
		parsed, err := model.ParseDuration(hold)
		if err != nil {
			s.unread(slo.Finding{Rule: ruleUnreadRules, Pos: d.position(find(n, "for").key), Message: clip("rule " + r.name() + ": " + err.Error()), Remedy: "write for as a duration such as 5m"})
			return
		}
		r.hold = time.Duration(parsed)
	}
	s.add(r, text(expression.value))
}

func (s *ruleset) add(r recording, expression string) {
	var err error
	if r.name() == "" {
		err = errors.New("a rule has neither record nor alert")
	} else {
		r.expr, err = parseExpr(expression)
	}
	if err != nil {
		s.unread(slo.Finding{Rule: ruleUnreadRules, Pos: r.pos, Message: clip(fmt.Sprintf("rule %s is not compared: %v", r.name(), err)), Remedy: "mend the rule; promtool check rules says more"})
		return
	}
	s.rules = append(s.rules, r)
}
