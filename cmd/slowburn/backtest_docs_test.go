package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/spf13/pflag"
)

// TestBacktestFlagsAreDocumented holds the page to the flags, and the flags to the page.
func TestBacktestFlagsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/backtest.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("`--([a-z-]+)`").FindAllSubmatch(page, -1) {
		told[string(m[1])] = true
	}
	flags := newBacktest().Flags()
	flags.VisitAll(func(f *pflag.Flag) {
		if !told[f.Name] {
			t.Errorf("docs/backtest.md does not tell of --%s", f.Name)
		}
	})
	for name := range told {
		if flags.Lookup(name) == nil {
			t.Errorf("docs/backtest.md tells of --%s, which is no flag", name)
		}
	}
}
