package contract

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/slowburn/slowburn/contract/corpus"
)

// TestPlantedDeclarations compares what a scan finds in generated trees with what was planted.
func TestPlantedDeclarations(t *testing.T) {
	for seed := range uint64(4) {
		dir := t.TempDir()
		planted, err := corpus.Write(dir, corpus.Options{Files: 400, Seed: seed, Share: 3})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Scan(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, p := range planted {
			want = append(want, fmt.Sprintf("%s:%d:%d %s %v", p.File, p.Line, p.Col, p.Kind, p.Target))
		}
		for _, d := range r.Declarations {
			s := fmt.Sprintf("%s:%d:%d %s ", d.File, d.Line, d.Col, d.Kind)
			if d.SLOTarget != nil {
				s += fmt.Sprint(*d.SLOTarget)
			}
			got = append(got, s+d.Error)
		}
		slices.SortFunc(want, cmp.Compare)
		slices.SortFunc(got, cmp.Compare)
		if len(want) < 100 || !slices.Equal(want, got) {
			t.Errorf("seed %d: planted %d, found %d; first difference %s", seed, len(want), len(got), firstDifference(want, got))
		}
		if len(r.Findings) > 0 {
			t.Errorf("seed %d: findings %v", seed, r.Findings)
		}
	}
}

func firstDifference(want, got []string) string {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return fmt.Sprintf("%s, want %s", got[i], want[i])
		}
	}
	return "at the end"
}

// BenchmarkScan scans a monorepo of 20,000 files whose pages are in memory, and reports the most memory the
// process has held.
func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	planted, err := corpus.Write(dir, corpus.Options{Files: 20_000})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := Scan(b.Context(), dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if len(r.Declarations) != len(planted) {
			b.Fatalf("%d declarations, want %d", len(r.Declarations), len(planted))
		}
	}
	b.ReportMetric(float64(len(planted)), "declarations")
	if kib, ok := peakMemory(); ok {
		b.ReportMetric(kib/1024, "peak-MiB")
	}
}

// peakMemory is the resident memory at its highest, in KiB, where the system tells.
func peakMemory() (float64, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			return kib, true
		}
	}
	return 0, false
}
