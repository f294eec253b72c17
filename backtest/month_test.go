package backtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slowburn/slowburn/fixtures"
	"github.com/slowburn/slowburn/slo"
)

// TestEmittedTestsPassInPromtool: every incident of the shop's month, and what pages outside of them, becomes a test that
// plain promtool passes.
func TestEmittedTestsPassInPromtool(t *testing.T) {
	promtool := promtoolBinary(t)
	month := fixtures.ShopMonth(1, 30)
	var all []Samples
	for _, s := range month.Series {
		all = append(all, Samples{Labels: s.Labels, Times: s.Times, Values: s.Values})
	}
	h := NewMemory(all)
	var objectives []slo.Objective
	for _, service := range []string{"analytics", "api", "search"} {
		o := objective(t, 0.995, "default")
		o.Service = service
		objectives = append(objectives, o)
	}
	incidents, err := ReadIncidents(strings.NewReader(string(month.CSV())), "incidents.csv")
	if err != nil {
		t.Fatal(err)
	}
	var known []Incident
	for k, i := range incidents {
		if k%3 != 0 { // the others page without a label
			known = append(known, i)
		}
	}
	o := Options{Incidents: known}
	r, err := Run(t.Context(), objectives, h, o)
	if err != nil {
		t.Fatal(err)
	}
	files, notes, err := r.Tests(t.Context(), h, o)
	if err != nil || len(notes) > 0 {
		t.Fatalf("notes %v, error %v", notes, err)
	}
	if len(files) < 3+len(incidents) {
		t.Errorf("%d tests of %d incidents, known or not", len(files)-3, len(incidents))
	}
	dir, args := t.TempDir(), []string{"test", "rules"}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Content, 0o600); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.Name, ".test.yml") {
			args = append(args, filepath.Join(dir, f.Name))
		}
		t.Logf("%s: %d bytes", f.Name, len(f.Content))
		if len(f.Content) > 16<<10 {
			t.Errorf("%s has %d bytes: nobody reads that", f.Name, len(f.Content))
		}
	}
	if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// promtoolBinary finds the promtool of our own Prometheus version, which make tools builds into bin/.
func promtoolBinary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../bin/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if os.Getenv("CI") == "true" {
			t.Fatal("bin/promtool is missing: run make tools")
		}
		t.Skip("bin/promtool is missing: run make tools")
	}
	return path
}
