package tsdb

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// month writes a text of the given number of series with a sample each five minutes over 30 days.
func month(b *testing.B, series int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "h.om")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for s := range series {
		for n := range 30 * 288 {
			fmt.Fprintf(w, "http_requests_total{service=\"api\",tenant=\"t%d\",code=\"200\"} %d %d\n", s, n*7, 1_700_006_400+n*300)
		}
	}
	fmt.Fprintln(w, "# EOF")
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

func BenchmarkReadOpenMetrics(b *testing.B) {
	path := month(b, 100)
	for b.Loop() {
		h, err := ReadOpenMetrics(context.Background(), path, HistoryOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := h.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(100*30*288)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}

func BenchmarkImport(b *testing.B) {
	h, err := ReadOpenMetrics(context.Background(), month(b, 100), HistoryOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	mint, maxt := h.Extent()
	for b.Loop() {
		if err := Import(context.Background(), h, mint, maxt, b.TempDir(), nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(100*30*288)*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}
