package topology

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/slowburn/slowburn/slo"
)

// TestRules holds this package's rule ids and the project's table of rules together.
func TestRules(t *testing.T) {
	source, err := os.ReadFile("findings.go")
	if err != nil {
		t.Fatal(err)
	}
	var here, listed []string
	for _, m := range regexp.MustCompile(`= "(SB\d{3})"`).FindAllStringSubmatch(string(source), -1) {
		here = append(here, m[1])
	}
	for _, r := range slo.Rules() {
		if r.ID >= "SB040" && r.ID < "SB058" { // from there on they compare, and are drift's
			listed = append(listed, r.ID)
		}
	}
	if len(here) == 0 || !slices.Equal(here, listed) {
		t.Errorf("rules here %v, in slo.Rules %v", here, listed)
	}
}

func TestOneLine(t *testing.T) {
	if got, want := oneLine("a\n b\x1b[31m\tc\xff"), "a b?[31m c?"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
