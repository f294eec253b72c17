package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/alertmanager/config"

	"github.com/slowburn/slowburn/drift"
	"github.com/slowburn/slowburn/slo"
)

// shopWith reads the shop with a policy.
func shopWith(t *testing.T, policy string) *workspace {
	t.Helper()
	w, err := readWorkspace(t.Context(), "../../fixtures/shop", readSettings{policy: policy, serviceLabel: "service", windowScale: 1})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// inFormat is what generate writes in a format.
func inFormat(t *testing.T, w *workspace, format string) []byte {
	t.Helper()
	for _, f := range formats {
		if f.name == format {
			var b bytes.Buffer
			if err := f.write(&b, w, "slo.rules.yml"); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
	}
	t.Fatalf("format %s is unknown", format)
	return nil
}

// TestOpenSLORoundTrip: what is written as OpenSLO is found again in the tree and differs in nothing.
func TestOpenSLORoundTrip(t *testing.T) {
	for _, p := range slo.Policies() {
		w := shopWith(t, p.Name)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "slo.yaml"), inFormat(t, w, "openslo"), 0o644); err != nil {
			t.Fatal(err)
		}
		r := drift.Specs(drift.Contract{Objectives: w.objectives}, drift.FindSpecs(dir))
		want := 0
		for _, o := range w.objectives {
			want += 5 + 3*len(o.Policy.Tiers) // target, window, method, two queries; factor, short window and hold of each tier
		}
		if drifting, compared := r.Share(); drifting != 0 || compared != want {
			t.Errorf("policy %s: %d of %d facts drift, want 0 of %d", p.Name, drifting, compared, want)
		}
		for _, f := range r.Facts {
			if f.Verdict != drift.Same {
				t.Errorf("policy %s: %s: %s %s: want %s, got %s", p.Name, f.Verdict, f.SLO, f.Subject, f.Want, f.Got)
			}
		}
		// A change of the contract shows.
		changed := append([]slo.Objective(nil), w.objectives...)
		changed[0].Target = 0.95
		if drifting, _ := drift.Specs(drift.Contract{Objectives: changed}, drift.FindSpecs(dir)).Share(); drifting != 1 {
			t.Errorf("policy %s: of a changed target %d facts drift, want 1", p.Name, drifting)
		}
	}
}

// TestInhibitRulesLoad: Alertmanager's own reader takes them, and its own tool.
func TestInhibitRulesLoad(t *testing.T) {
	amtool := program(t, "install prometheus-alertmanager", "amtool")
	for _, p := range slo.Policies() {
		text := "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n" + string(inFormat(t, shopWith(t, p.Name), "inhibit"))
		c, err := config.Load(text)
		if err != nil {
			t.Fatalf("policy %s: %v\n%s", p.Name, err, text)
		}
		if want := len(p.Tiers) - 1; len(c.InhibitRules) < want {
			t.Errorf("policy %s: %d inhibit rules, want at least %d", p.Name, len(c.InhibitRules), want)
		}
		file := filepath.Join(t.TempDir(), "alertmanager.yml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), amtool, "check-config", file).CombinedOutput(); err != nil || !strings.Contains(string(out), "SUCCESS") {
			t.Errorf("policy %s: amtool: %v\n%s", p.Name, err, out)
		}
	}
}
