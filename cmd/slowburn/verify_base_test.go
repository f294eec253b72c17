package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slowburn/slowburn/fixtures"
	"github.com/slowburn/slowburn/slo"
)

// baseDocument is what these tests read of verify's JSON.
type baseDocument struct {
	Findings []slo.Finding `json:"findings"`
	Revision *struct {
		Commit   string                                  `json:"commit"`
		Contract []string                                `json:"contract"`
		Gained   []struct{ Service, SLO, Tenant string } `json:"pages_gained"`
		Lost     []struct{ Service, SLO, Tenant string } `json:"pages_lost"`
	} `json:"revision"`
}

// repository is a git repository with the shop in a folder of it, committed twice: as it is, and with another target of
// search in sources and rules.
func repository(t *testing.T, target string) (root, shop string) {
	t.Helper()
	program(t, "install git", "git")
	root = t.TempDir()
	shop = filepath.Join(root, "apps", "shop")
	if err := os.CopyFS(shop, fixtures.Shop()); err != nil {
		t.Fatal(err)
	}
	gitIn(t, root, "init", "-q", ".")
	gitIn(t, root, "add", "-A")
	gitIn(t, root, "commit", "-qm", "one")
	source := filepath.Join(shop, "services", "search", "src", "search.ts")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("target: 0.999", "target: "+target, "searchTarget = 0.999", "searchTarget = "+target).Replace(string(text))
	if err := os.WriteFile(source, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	var rules, stderr bytes.Buffer
	if status := execute(t.Context(), []string{"generate", shop}, &rules, &stderr); status != exitOK {
		t.Fatal(stderr.String())
	}
	if err := os.WriteFile(filepath.Join(shop, "rules", "slo.rules.yml"), rules.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	gitIn(t, root, "commit", "-qam", "two")
	return root, shop
}

func gitIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestVerifyBase: a looser target loses a page and an incident, a tighter one gains pages, and the gates tell.
func TestVerifyBase(t *testing.T) {
	month := shopMonth(t)
	history := []string{"--history", filepath.Join(month, "data"), "--incidents", filepath.Join(month, "incidents.csv")}
	for _, row := range []struct {
		name, target string
		args         []string
		status       int
		rule         string // of the gate that is closed
		contract     string
		gains, loses bool
	}{
		{"looser", "0.99", nil, exitOK, "", "search/availability: target 99%, was 99.9%", false, true},
		{"looser, and every incident wanted", "0.99", []string{"--min-recall", "1"}, exitFindings, "SB121", "search/availability: target 99%, was 99.9%", false, true},
		{"tighter", "0.9995", []string{"--max-new-pages", "50"}, exitOK, "", "search/availability: target 99.95%, was 99.9%", true, false},
		{"tighter, and no page wanted", "0.9995", []string{"--max-new-pages", "0"}, exitFindings, "SB120", "search/availability: target 99.95%, was 99.9%", true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			root, shop := repository(t, row.target)
			var out, stderr bytes.Buffer
			args := slices.Concat([]string{"verify", shop, "--base", "HEAD~1", "-o", "json"}, history, row.args)
			if status := execute(t.Context(), args, &out, &stderr); status != row.status {
				t.Errorf("status %d, want %d: %s", status, row.status, stderr.String())
			}
			var d baseDocument
			if err := json.Unmarshal(out.Bytes(), &d); err != nil {
				t.Fatal(err)
			}
			if d.Revision == nil {
				t.Fatalf("no revision in %s", out.String())
			}
			if want := strings.TrimSpace(gitIn(t, root, "rev-parse", "HEAD~1")); d.Revision.Commit != want {
				t.Errorf("compared with %s, want %s", d.Revision.Commit, want)
			}
			if !slices.Equal(d.Revision.Contract, []string{row.contract}) {
				t.Errorf("contract %q, want %q", d.Revision.Contract, row.contract)
			}
			if (len(d.Revision.Gained) > 0) != row.gains || (len(d.Revision.Lost) > 0) != row.loses {
				t.Errorf("gained %v, lost %v", d.Revision.Gained, d.Revision.Lost)
			}
			for _, p := range slices.Concat(d.Revision.Gained, d.Revision.Lost) {
				if p.Service != "search" {
					t.Errorf("%v changed, and only search did", p)
				}
			}
			closed := slices.ContainsFunc(d.Findings, func(f slo.Finding) bool { return f.Rule == row.rule })
			if closed != (row.rule != "") {
				t.Errorf("gate %q: %v", row.rule, d.Findings)
			}
			if dirty := gitIn(t, root, "status", "--porcelain"); dirty != "" {
				t.Errorf("the checkout was touched: %s", dirty)
			}
		})
	}
}

// TestVerifyBaseThatIsNotThere: one clear line, and status 2.
func TestVerifyBaseThatIsNotThere(t *testing.T) {
	root, shop := repository(t, "0.99")
	gitIn(t, root, "checkout", "-q", "--orphan", "bare")
	gitIn(t, root, "rm", "-rqf", "--cached", "apps")
	gitIn(t, root, "commit", "-q", "--allow-empty", "-m", "without the shop")
	gitIn(t, root, "checkout", "-qf", "-B", "work", "HEAD")
	alone := t.TempDir()
	if err := os.CopyFS(alone, fixtures.Shop()); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, dir, base, want string }{
		{"unknown", shop, "nowhere", `--base "nowhere" is no revision of the repository`},
		{"an option", shop, "--output=x", `--base "--output=x" is no revision`},
		{"a file", shop, "HEAD:apps", "is no revision"},
		{"no repository", alone, "HEAD", "lies in no git repository"},
		{"without the folder", shop, "bare", "apps/shop"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			status := execute(t.Context(), []string{"verify", row.dir, "--base", row.base}, &out, &stderr)
			if said := out.String() + stderr.String(); status != exitFailed || !strings.Contains(said, row.want) {
				t.Errorf("status %d: %s%s", status, out.String(), stderr.String())
			}
		})
	}
}
