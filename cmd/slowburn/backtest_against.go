package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// readRival reads the rule file of --against. A rule that selects every series there is would keep a replay busy with
// what nobody meant to ask: it is refused. All faults are reported.
func readRival(path string, logger *slog.Logger) (*rulefmt.RuleGroups, error) {
	p := parser.NewParser(parser.Options{})
	groups, faults := rulefmt.ParseFile(path, false, model.UTF8Validation, p, logger)
	if len(faults) > 0 {
		return nil, fmt.Errorf("--against: %w", errors.Join(faults...))
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			expr, err := p.ParseExpr(r.Expr)
			if err != nil {
				return nil, fmt.Errorf("--against: %s: group %q: %w", path, g.Name, err)
			}
			if selector := boundless(expr); selector != "" {
				faults = append(faults, fmt.Errorf("--against: %s: group %q, rule %q: %s selects every series: name a metric", path, g.Name, r.Record+r.Alert, selector))
			}
		}
	}
	return groups, errors.Join(faults...)
}

// boundless is the first selector of an expression that leaves no series out; empty where there is none.
func boundless(expr parser.Expr) string {
	found := ""
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok && found == "" && allPass(s.LabelMatchers) {
			found = s.String()
		}
		return nil
	})
	return found
}

// allPass reports whether no matcher keeps out any metric: each accepts names that nobody has given.
func allPass(all []*labels.Matcher) bool {
	for _, m := range all {
		if !m.Matches("anything") || !m.Matches("something:else_1") {
			return false
		}
	}
	return true
}
