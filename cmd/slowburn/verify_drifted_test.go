package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slowburn/slowburn/slo"
)

const (
	shopDir    = "../../fixtures/shop"
	driftedDir = "../../fixtures/drifted"
)

// TestDrifted: verify finds every fault that is planted there, at its place, and nothing else.
func TestDrifted(t *testing.T) {
	document := verified(t, driftedDir, exitFindings)
	var got []string
	for _, f := range document.Findings {
		got = append(got, f.Rule+" "+place(f.Pos))
	}
	want := planted(t)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nplanted\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Each place of a promise that is not kept names the line that makes it.
	for _, f := range document.Findings {
		if slices.Contains([]string{"SB070", "SB076", "SB081", "SB091"}, f.Rule) && (len(f.Related) == 0 || !strings.HasSuffix(f.Related[0].File, ".ts") || f.Related[0].Line == 0) {
			t.Errorf("%s at %s does not say where the contract is: %v", f.Rule, place(f.Pos), f.Related)
		}
	}
}

func place(p slo.Position) string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// planted is the table of the README.
func planted(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(driftedDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(readme)) {
		if cells := strings.Split(line, "|"); len(cells) == 5 && strings.HasPrefix(cells[1], " SB") {
			all = append(all, strings.TrimSpace(cells[1])+" "+strings.TrimSpace(cells[2]))
		}
	}
	if len(all) < 5 {
		t.Fatalf("the README lists %v", all)
	}
	slices.Sort(all)
	return all
}

// TestShopDoesNotDrift: what is deployed in the shop is what its code says, every alert reaches somebody, and its rule file
// is what generate writes.
func TestShopDoesNotDrift(t *testing.T) {
	document := verified(t, shopDir, exitOK)
	for name, want := range map[string]float64{"config_drift": 0, "alert_coverage": 1} {
		if c := document.Validation[name]; c.Ratio == nil || *c.Ratio != want {
			t.Errorf("%s is %+v, want %v", name, c, want)
		}
	}
	var generated, stderr bytes.Buffer
	if status := execute(t.Context(), []string{"generate", shopDir}, &generated, &stderr); status != exitOK {
		t.Fatalf("status %d\n%s", status, stderr.String())
	}
	deployed, err := os.ReadFile(filepath.Join(shopDir, "rules", "slo.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(generated.Bytes(), deployed) {
		t.Error("rules/slo.rules.yml of the shop is not what generate writes")
	}
}

// TestDriftedIsTheShop: a file that both have is the same in both, unless it is one of those that drift.
func TestDriftedIsTheShop(t *testing.T) {
	own := []string{"README.md", "alertmanager.yml", "prometheus.yml", "rules/by-hand.yml", "datadog/slos.json", "datadog/monitors.json"}
	files := 0
	err := fs.WalkDir(os.DirFS(driftedDir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || slices.Contains(own, name) {
			return err
		}
		files++
		shop, shopErr := os.ReadFile(filepath.Join(shopDir, name))
		drifted, err := os.ReadFile(filepath.Join(driftedDir, name))
		if shopErr != nil || err != nil || !bytes.Equal(shop, drifted) {
			t.Errorf("%s is not the shop's: %v %v", name, shopErr, err)
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("%d files compared, %v", files, err)
	}
}

// verifiedDocument is what these tests read of verify's JSON.
type verifiedDocument struct {
	Findings   []slo.Finding `json:"findings"`
	Validation map[string]struct {
		Ratio *float64 `json:"ratio"`
	} `json:"validation_report"`
}

// verified is the document of a run of verify.
func verified(t *testing.T, dir string, want int) verifiedDocument {
	t.Helper()
	var out, stderr bytes.Buffer
	if status := execute(t.Context(), []string{"verify", dir, "-o", "json"}, &out, &stderr); status != want {
		t.Fatalf("status %d, want %d\n%s%s", status, want, out.String(), stderr.String())
	}
	var document verifiedDocument
	if err := json.Unmarshal(out.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	return document
}
