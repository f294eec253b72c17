package contract

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slowburn/slowburn/slo"
)

var update = flag.Bool("update", false, "write docs/findings.md anew")

// TestFindingsPage holds docs/findings.md and slo.Rules equal.
func TestFindingsPage(t *testing.T) {
	page := filepath.Join("..", "docs", "findings.md")
	want := findingsPage()
	if *update {
		if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/findings.md is not what slo.Rules says: run go test ./contract -run FindingsPage -update")
	}
}

func findingsPage() string {
	var b strings.Builder
	b.WriteString(`# Findings

Every finding carries one of these ids, on a terminal, in JSON and in SARIF. An id never changes its meaning.

A finding about a place in the sources can be silenced beside it, on the same line or the line before, by a
comment that gives the reason:

` + "```ts" + `
// slowburn-ignore SB003: the target comes from the customer's plan
const slo = new ErrorBudgetInstrument({ sloTarget: plan.target });
` + "```" + `

`)
	for _, r := range slo.Rules() {
		fmt.Fprintf(&b, "## %s: %s\n\nSeverity: %s. %s\n\nRemedy: %s.\n\n", r.ID, r.Title, r.Severity, r.Explanation, r.Remedy)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// TestRulesAreInOrder: ids are unique and sorted, and every rule of this package is explained.
func TestRulesAreInOrder(t *testing.T) {
	last := ""
	for _, r := range slo.Rules() {
		if r.ID <= last || r.Title == "" || r.Explanation == "" || r.Remedy == "" {
			t.Errorf("rule %+v after %s", r, last)
		}
		last = r.ID
	}
	for _, id := range []string{ruleSyntax, ruleMissingTarget, ruleUnresolved, ruleAmbiguous, ruleWrongType, ruleTargetRange, ruleThreshold, ruleLowThreshold,
		ruleUnknownKey, ruleNoWindow, ruleDisagree, ruleOpenSpread, rulePassedThrough, ruleIndicator, ruleNoService, ruleWindow, ruleTooLarge,
		ruleTooDeep, ruleUnreadable, ruleEncoding, ruleLink, ruleConfig, ruleSuppression} {
		if ruleOf(id).Title == "" {
			t.Errorf("%s is not in slo.Rules", id)
		}
	}
}
