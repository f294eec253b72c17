package topology

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slowburn/slowburn/slo"
)

// world writes a txtar-like text into a new directory: each file begins with a line `-- name --`.
func world(t *testing.T, text string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	var name string
	for line := range strings.Lines(text) {
		if file, ok := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- "); ok && strings.HasSuffix(line, " --\n") {
			name = filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			line = ""
		}
		appendTo(t, name, line)
	}
	return dir
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func scanned(t *testing.T, dir string, o Options) *Topology {
	t.Helper()
	if o.Env == nil {
		o.Env = map[string]string{}
	}
	top, err := Scan(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// lines prints findings as a person reads them, with the severity in front.
func lines(findings []slo.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		b.WriteString(f.Severity.String() + " " + f.String() + "\n")
	}
	return b.String()
}

// quiet fails the test when something is found.
func quiet(t *testing.T, top *Topology) *Topology {
	t.Helper()
	if len(top.Findings) > 0 {
		t.Errorf("findings:\n%s", lines(top.Findings))
	}
	return top
}

func service(t *testing.T, top *Topology, name string) Service {
	t.Helper()
	s, ok := top.Service(name)
	if !ok {
		t.Fatalf("no service %q; findings:\n%s", name, lines(top.Findings))
	}
	return s
}
