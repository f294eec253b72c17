package tsdb

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

func readText(t *testing.T, text string) (*History, string, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "h.om")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(dir, "temp")
	if err := os.Mkdir(temp, 0o777); err != nil {
		t.Fatal(err)
	}
	h, err := ReadOpenMetrics(context.Background(), path, HistoryOptions{TempDir: temp})
	if err != nil {
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		return nil, path, err
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return h, path, nil
}

// dump is all samples as "name t=v …", a line per series.
func dump(t *testing.T, h *History) []string {
	t.Helper()
	q, err := h.Querier(-1<<62, 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var out []string
	set := q.Select(context.Background(), true, nil, allSeries()...)
	for set.Next() {
		line := set.At().Labels().String()
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			at, v := it.At()
			line += fmt.Sprintf(" %d=%g", at, v)
		}
		out = append(out, line)
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return out
}

func TestReadOpenMetrics(t *testing.T) {
	for _, row := range []struct {
		what, text string
		want       []string
		notes      int
	}{
		{"one sample", "up 1 10\n# EOF\n", []string{`{__name__="up"} 10000=1`}, 0},
		{"as exporters write it", "# HELP a_total text\n# TYPE a counter\na_total{x=\"1\"} 1 10.5\na_total{x=\"1\"} 2 20.5\n# TYPE b gauge\nb 3 10\n# EOF\n",
			[]string{`{__name__="a_total", x="1"} 10500=1 20500=2`, `{__name__="b"} 10000=3`}, 0},
		{"out of order", "up 2 20\nup 1 10\nup 3 30\n# EOF\n", []string{`{__name__="up"} 10000=1 20000=2 30000=3`}, 0},
		{"the same time twice", "up 1 10\nup 2 10\nup 1 10\n# EOF\n", []string{`{__name__="up"} 10000=1`}, 1},
		{"one series written in two ways", "a{x=\"1\",y=\"2\"} 1 10\na{y=\"2\",x=\"1\"} 2 20\n# EOF\n", []string{`{__name__="a", x="1", y="2"} 10000=1 20000=2`}, 0},
		{"days apart", "up 1 10\nup 2 1000000\n# EOF\n", []string{`{__name__="up"} 10000=1 1000000000=2`}, 0},
		{"a thousand years apart", "up 1 10\nup 2 32503680000\n# EOF\n", []string{`{__name__="up"} 10000=1 32503680000000=2`}, 0},
		{"before 1970", "up 1 -10\n# EOF\n", []string{`{__name__="up"} -10000=1`}, 0},
		{"with exemplars", "# TYPE h histogram\nh_bucket{le=\"1\"} 1 10 # {trace_id=\"x\"} 0.5\n# EOF\n", []string{`{__name__="h_bucket", le="1.0"} 10000=1`}, 0},
		{"no samples", "# EOF\n", nil, 0},
	} {
		t.Run(row.what, func(t *testing.T) {
			h, _, err := readText(t, row.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := dump(t, h); !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
			if len(h.Notes()) != row.notes {
				t.Errorf("notes: %v", h.Notes())
			}
		})
	}
}

func TestReadOpenMetricsFaults(t *testing.T) {
	many := strings.Repeat("up 1 10\n", 200_000) // more than one piece
	for _, row := range []struct{ what, text, want string }{
		{"no timestamp", "up 1 10\nup 2\n# EOF\n", "h.om:2: sample without a timestamp"},
		{"no end", "up 1 10\n", "h.om:1: no # EOF at the end"},
		{"empty", "", "no # EOF at the end"},
		{"text after the end", "up 1 10\n# EOF\nup 2 20\n", "h.om:3: text after # EOF"},
		{"a bad line", "up 1 10\nup{ 2 20\n# EOF\n", "h.om:2: "},
		{"a bad line far down", many + "up{ 2 20\n# EOF\n", "h.om:200001: "},
		{"no timestamp far down", many + "up 2\n# EOF\n", "h.om:200001: sample without a timestamp"},
		{"an endless line", "up{a=\"" + strings.Repeat("x", 2<<20) + "\"} 1 10\n# EOF\n", "h.om:1: line longer than"},
	} {
		t.Run(row.what, func(t *testing.T) {
			_, path, err := readText(t, row.text)
			if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}

func TestReadCompressed(t *testing.T) {
	write := func(name string, cut int) string {
		path := filepath.Join(t.TempDir(), name)
		var b strings.Builder
		z := gzip.NewWriter(&b)
		fmt.Fprint(z, "up 1 10\n# EOF\n")
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()[:b.Len()-cut]), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	h, err := ReadOpenMetrics(context.Background(), write("h.om.gz", 0), HistoryOptions{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if got := count(t, h); !maps.Equal(got, map[string]int{"up": 1}) {
		t.Errorf("got %v", got)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	cut := write("cut.om.gz", 12)
	if _, err := ReadOpenMetrics(context.Background(), cut, HistoryOptions{TempDir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), cut) {
		t.Errorf("cut off: %v", err)
	}
	if _, err := ReadOpenMetrics(context.Background(), filepath.Join(t.TempDir(), "none"), HistoryOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// A text of a month goes through files, and comes out whole.
func TestReadManyDays(t *testing.T) {
	var b strings.Builder
	for series := range 3 {
		for hour := range 31 * 24 {
			fmt.Fprintf(&b, "up{n=\"%d\"} %d %d\n", series, hour, hour*3600)
		}
	}
	h, _, err := readText(t, b.String()+"# EOF\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := count(t, h)["up"]; got != 3*31*24 {
		t.Errorf("%d samples", got)
	}
}

func FuzzReadOpenMetrics(f *testing.F) {
	f.Add("up 1 10\n# EOF\n")
	f.Add("# TYPE a counter\na_total{x=\"1\"} 1 10.5 # {t=\"1\"} 1\n# EOF\n")
	f.Add("up{ 1 10\nup 1\n")
	f.Add("up 1 1e300\n# EOF\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "h.om")
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		h, err := ReadOpenMetrics(context.Background(), path, HistoryOptions{TempDir: t.TempDir()})
		if err != nil {
			return
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
}
