package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slowburn/slowburn/alerts"
	"github.com/slowburn/slowburn/slo"
)

// TestMetricsAreDocumented holds docs/metrics.md equal to what is registered.
func TestMetricsAreDocumented(t *testing.T) {
	w, err := newWatch(watchOptions{
		dataDir: t.TempDir(), listen: "127.0.0.1:0", retention: time.Hour, interval: time.Minute, resend: time.Minute, logger: slog.New(slog.DiscardHandler),
	}, &plan{objectives: []slo.Objective{availability()}, alerting: alerts.Config{Endpoints: []alerts.Endpoint{{URL: "http://127.0.0.1:1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "slowburn_") {
			got = append(got, family.GetName())
		}
	}
	descriptions := make(chan *prometheus.Desc, 100)
	w.exporter.Describe(descriptions)
	close(descriptions)
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range descriptions {
		got = append(got, name.FindStringSubmatch(d.String())[1])
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(slowburn_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		want = append(want, m[1])
	}
	slices.Sort(got)
	slices.Sort(want)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("registered: %v\ndocumented: %v", got, want)
	}
}
