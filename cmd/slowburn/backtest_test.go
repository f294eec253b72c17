package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/slowburn/slowburn/fixtures"
	"github.com/slowburn/slowburn/tsdb"
)

// shopMonth writes the month that cmd/shophistory makes, and gives its directory.
func shopMonth(t *testing.T) string {
	t.Helper()
	dir, month := t.TempDir(), fixtures.ShopMonth(1, 30)
	if err := tsdb.Import(t.Context(), memoryOf(month), month.Start.UnixMilli(), month.End.UnixMilli(), filepath.Join(dir, "data"), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "incidents.csv"), month.CSV(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWrapped(t *testing.T) {
	for _, row := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"one", []string{"one"}},
		{"within 25 min of it", []string{"within", "25 min of", "it"}},
		{"a verylongwordindeed b", []string{"a", "verylongwordindeed", "b"}},
		{"größer 日本語 x", []string{"größer", "日本語 x"}},
	} {
		if got := wrapped(row.text, 9); !slices.Equal(got, row.want) {
			t.Errorf("%q: %q, want %q", row.text, got, row.want)
		}
	}
}
