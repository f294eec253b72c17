package backtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slowburn/slowburn/contract"
	"github.com/slowburn/slowburn/slo"
)

// TestPatch: the declaration, the proposal, and the lines that go and come. What comes is applied and read again by
// contract, which must then say what was proposed.
func TestPatch(t *testing.T) {
	const head = "import { ErrorBudgetInstrument, SLO } from '@slowburn/instrument';\n"
	for _, row := range []struct{ name, source, tier, want string }{
		{"constructor", head + "export const b = new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: 0.08, window: '30d' });\n", "fast",
			"@@ -2,1 +2,1 @@\n-export const b = new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: 0.08, window: '30d' });\n+export const b = new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: '9.5x', window: '30d' });\n"},
		{"over several lines", head + "const b = new ErrorBudgetInstrument({\n  sloTarget: 0.995,\n  burnRateThreshold: { // as agreed\n    budget: '2%',\n    within: '1h',\n  },\n  window: '30d',\n});\n", "fast",
			"@@ -4,4 +4,1 @@\n-  burnRateThreshold: { // as agreed\n-    budget: '2%',\n-    within: '1h',\n-  },\n+  burnRateThreshold: '9.5x',\n"},
		{"after the target, in its line", head + "const b = new ErrorBudgetInstrument({ sloTarget: 0.995 });\n", "fast",
			"@@ -2,1 +2,1 @@\n-const b = new ErrorBudgetInstrument({ sloTarget: 0.995 });\n+const b = new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: '9.5x' });\n"},
		{"after the target, in a line of its own", head + "const b = new ErrorBudgetInstrument({\n  sloTarget: 0.995, // burnRateThreshold: 3\n  window: '30d' });\n", "medium",
			"@@ -3,1 +3,2 @@\n-  sloTarget: 0.995, // burnRateThreshold: 3\n+  sloTarget: 0.995,\n+  burnRateThreshold: { budget: '7.91666666666666%', within: '6h' }, // burnRateThreshold: 3\n"},
		{"a constant", head + "const FAST = 16;\nconst b = new ErrorBudgetInstrument({ 'sloTarget': 0.995, \"burnRateThreshold\": (FAST) /* x */, });\n", "fast",
			"@@ -3,1 +3,1 @@\n-const b = new ErrorBudgetInstrument({ 'sloTarget': 0.995, \"burnRateThreshold\": (FAST) /* x */, });\n+const b = new ErrorBudgetInstrument({ 'sloTarget': 0.995, \"burnRateThreshold\": '9.5x' /* x */, });\n"},
		{"shorthand", head + "const burnRateThreshold = 16;\nconst b = new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold });\n", "fast",
			"@@ -3,1 +3,1 @@\n-const b = new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold });\n+const b = new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: '9.5x' });\n"},
		{"decorator", head + "@SLO({\n\ttarget: '99.5%',\n\tburnRateThreshold: '8%' })\nclass A {}\n", "fast",
			"@@ -4,1 +4,1 @@\n-\tburnRateThreshold: '8%' })\n+\tburnRateThreshold: '9.5x' })\n"},
		{"the second of two in a line", head + "const a = new ErrorBudgetInstrument({ name: '𝄞', sloTarget: 0.99, burnRateThreshold: 7 }), b = new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: 16 });\n", "fast",
			"burnRateThreshold: 7 }), b = new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: '9.5x' });\n"},
		{"Windows line ends", "\ufeff" + head + "const b = new ErrorBudgetInstrument({\r\n  sloTarget: 0.995,\r\n});\r\n", "fast",
			"@@ -3,1 +3,2 @@\n-  sloTarget: 0.995,\r\n+  sloTarget: 0.995,\n+  burnRateThreshold: '9.5x',\r\n"},
		{"tag", "/** @SLO availability target=99.5% burnRateThreshold=8% window=30d */\nexport class A {}\n", "fast",
			"@@ -1,1 +1,1 @@\n-/** @SLO availability target=99.5% burnRateThreshold=8% window=30d */\n+/** @SLO availability target=99.5% burnRateThreshold=9.5x window=30d */\n"},
		{"tag without a threshold", "/** @SLO availability target=99.5% */\nexport class A {}\n", "fast",
			"+/** @SLO availability target=99.5% burnRateThreshold=9.5x */\n"},
		{"tag over several lines", "/**\n * Reads.\n * @SLO availability\n *   target = 99.5% burnRateThreshold = {budget: '2%', within: '1h'}\n *   window=30d\n * @see burnRateThreshold=1\n */\nexport class A {}\n", "medium",
			"@@ -4,1 +4,1 @@\n- *   target = 99.5% burnRateThreshold = {budget: '2%', within: '1h'}\n+ *   target = 99.5% burnRateThreshold = { budget: '7.91666666666666%', within: '6h' }\n"},
		{"tag before another", "/**\n * @SLO availability target=99.5%\n * @deprecated\n */\nexport class A {}\n", "fast",
			"@@ -2,1 +2,1 @@\n- * @SLO availability target=99.5%\n+ * @SLO availability target=99.5% burnRateThreshold=9.5x\n"},
		{"options from elsewhere", head + "const options = { sloTarget: 0.995 };\nconst b = new ErrorBudgetInstrument(options);\n", "fast", ""},
		{"a spread", head + "const options = { sloTarget: 0.995 };\nconst b = new ErrorBudgetInstrument({ ...options, window: '30d' });\n", "fast", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			o := declared(t, dir, row.source)
			c := Candidate{Tier: row.tier, Factor: 9.5}
			if row.tier == "medium" {
				c.Factor = slo.FactorFor(0.0791666666666666, 6*time.Hour, o.Window)
			}
			got := Patch(row.source, o.Source(), o, c)
			if row.want == "" && got != "" || !strings.HasSuffix(got, row.want) {
				t.Fatalf("got\n%s\nwant\n%s", got, row.want)
			}
			if got == "" {
				return
			}
			patched := declared(t, dir, applied(t, dir, got))
			for _, tier := range patched.Policy.Tiers {
				if tier.Name == row.tier && tier.Factor != c.Factor {
					t.Errorf("the patched contract says %gx, not %gx", tier.Factor, c.Factor)
				}
			}
		})
	}
}

// declared reads the last SLO of a source.
func declared(t *testing.T, dir, source string) slo.Objective {
	t.Helper()
	for name, text := range map[string]string{"svc.ts": source, "package.json": `{ "name": "api" }`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scanned, err := contract.Scan(t.Context(), dir, contract.Options{})
	if err != nil {
		t.Fatal(err)
	}
	objectives, findings := scanned.Objectives(contract.ObjectiveOptions{})
	for _, o := range objectives {
		if o.Target == 0.995 {
			return o
		}
	}
	t.Fatalf("no objective: %+v %+v", scanned.Findings, findings)
	return slo.Objective{}
}

// applied is the source after git has applied the patch.
func applied(t *testing.T, dir, patch string) string {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("git is not installed")
		}
		t.Skip("git is not installed")
	}
	cmd := exec.CommandContext(t.Context(), git, "apply", "--unidiff-zero", "-")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(patch)
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v\n%s\n%s", err, out, patch)
	}
	text, err := os.ReadFile(filepath.Join(dir, "svc.ts"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
