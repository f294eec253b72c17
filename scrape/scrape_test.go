package scrape

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store remembers the committed samples of each series.
type store struct {
	mu      sync.Mutex
	samples map[string][]float64
	times   map[string][]int64
	changed chan struct{} // closed and replaced at each commit
}

func newStore() *store {
	return &store{samples: map[string][]float64{}, times: map[string][]int64{}, changed: make(chan struct{})}
}

func (s *store) AppenderV2(context.Context) storage.AppenderV2 { return &batch{store: s} }

type sample struct {
	series string
	t      int64
	v      float64
}

type batch struct {
	store   *store
	samples []sample
}

func (b *batch) Append(_ storage.SeriesRef, ls labels.Labels, _, t int64, v float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, _ storage.AppendV2Options) (storage.SeriesRef, error) {
	b.samples = append(b.samples, sample{ls.String(), t, v})
	return 1, nil
}

func (b *batch) Commit() error {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for _, s := range b.samples {
		b.store.samples[s.series] = append(b.store.samples[s.series], s.v)
		b.store.times[s.series] = append(b.store.times[s.series], s.t)
	}
	close(b.store.changed)
	b.store.changed = make(chan struct{})
	return nil
}

func (b *batch) Rollback() error { return nil }

// count returns how many samples with value v the series has that contain all parts.
func (s *store) count(v float64, parts ...string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for series, samples := range s.samples {
		if !containsAll(series, parts) {
			continue
		}
		for _, got := range samples {
			if got == v {
				n++
			}
		}
	}
	return n
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// until waits for a state of the store.
func (s *store) until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if reached() {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("no %s after 20 s; stored: %d series", what, len(s.samples))
		}
	}
}

// start runs a scraper of c until the test ends.
func start(t *testing.T, c Config, to *store) *Scraper {
	t.Helper()
	s, err := New(to, Options{Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }() // ends by cancel
	t.Cleanup(func() {
		cancel()
		began := time.Now()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("stopping took %s", took)
		}
	})
	return s
}

func serve(t *testing.T, h http.HandlerFunc) string {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, body)
	}
}

func with(t *testing.T, c Config, name string, target string) Config {
	t.Helper()
	c, err := c.With(Static(name, 250*time.Millisecond, nil, target))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestScrapesWhatItIsTold(t *testing.T) {
	to := newStore()
	c, err := Config{}.With(Static("shop", 250*time.Millisecond, map[string]string{"service": "api"}, serve(t, text("requests_total 7\n"))))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s := start(t, c, to)
	to.until(t, "sample", func() bool { return to.count(7, `requests_total`, `service="api"`, `job="shop"`) >= 2 })
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the second scrape came after %s", took)
	}
	if active := s.TargetsActive()["shop"]; len(active) != 1 || active[0].LastError() != nil {
		t.Errorf("targets: %v", active)
	}
	if len(s.ScrapePools()) != 1 || len(s.TargetsDropped()["shop"]) != 0 || s.TargetsDroppedCounts()["shop"] != 0 {
		t.Error("pools or dropped targets")
	}
	if sc, err := s.ScrapePoolConfig("shop"); err != nil || sc.SampleLimit != SampleLimit {
		t.Error(sc, err)
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	to := newStore()
	good := with(t, Config{}, "good", serve(t, text("a 1\n")))
	s := start(t, good, to)
	to.until(t, "sample", func() bool { return to.count(1, `a`, `job="good"`) >= 1 })

	broken := Static("broken", time.Second, nil, "localhost:1")
	broken.HTTPClientConfig.TLSConfig.CAFile = "no-such-file.pem"
	both, err := good.With(broken)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(both); err == nil || !strings.Contains(err.Error(), `job "broken"`) || !strings.Contains(err.Error(), "no-such-file.pem") {
		t.Errorf("apply: %v", err)
	}
	if _, err := s.ScrapePoolConfig("good"); err != nil {
		t.Error(err)
	}

	if err := s.Apply(with(t, Config{}, "other", serve(t, text("b 2\n")))); err != nil {
		t.Fatal(err)
	}
	to.until(t, "sample of the new job", func() bool { return to.count(2, `b`, `job="other"`) >= 1 })
	if _, err := s.ScrapePoolConfig("good"); err == nil {
		t.Error("the old job is still there")
	}
	if gone := s.TargetsActive()["good"]; len(gone) > 0 {
		t.Errorf("the old job's targets are still there: %v", gone)
	}
}

func TestTimesAreNotAligned(t *testing.T) {
	// Upstream rounds a scrape's time to start + n × interval within 2 ms, and holds it there when the clock steps.
	// Unaligned times cannot all be so many whole intervals apart.
	to := newStore()
	start(t, with(t, Config{}, "job", serve(t, text("a 1\n"))), to)
	to.until(t, "ten scrapes", func() bool { return to.count(1, `__name__="a"`) >= 10 })
	to.mu.Lock()
	defer to.mu.Unlock()
	for series, times := range to.times {
		if !strings.Contains(series, `__name__="a"`) {
			continue
		}
		whole := true
		for _, at := range times[1:] {
			whole = whole && (at-times[0])%250 == 0
		}
		if whole {
			t.Errorf("times are aligned: %v", times)
		}
	}
}

// hostile targets, and what must be said of each (FAULTS, table C).
func hostile() map[string]struct {
	reason string
	serve  http.HandlerFunc
} {
	type row = struct {
		reason string
		serve  http.HandlerFunc
	}
	stuck := func(r *http.Request) { <-r.Context().Done() }
	return map[string]row{
		"huge": {"body size limit exceeded", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			line := bytes.Repeat([]byte("a 1\n"), 1<<16)
			for r.Context().Err() == nil {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}},
		"gzip bomb": {"body size limit exceeded", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			zeros := bytes.Repeat([]byte("#"), 1<<20)
			for range 1 << 10 {
				if _, err := z.Write(zeros); err != nil {
					return
				}
			}
			z.Close()
		}},
		"one line of 17 MiB":    {"body size limit exceeded", text(`a{b="` + strings.Repeat("x", 17<<20) + `"} 1` + "\n")},
		"a label value of 9 MB": {"label_value_length_limit", text(`a{b="` + strings.Repeat("x", 9<<20) + `"} 1` + "\n")},
		"a label name of 1 MB":  {"label_name_length_limit", text(`a{` + strings.Repeat("x", 1<<20) + `="b"} 1` + "\n")},
		"10,000 labels":         {"label_limit", text("a{" + manyLabels(10_000) + "} 1\n")},
		"a million series":      {"limit exceeded", text(manySeries(1_000_000))},
		"60,000 series":         {"sample limit exceeded", text(manySeries(60_000))},
		"hang":                  {"context deadline exceeded", func(_ http.ResponseWriter, r *http.Request) { stuck(r) }},
		"drip": {"context deadline exceeded", func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for r.Context().Err() == nil {
				fmt.Fprint(w, "a")
				w.(http.Flusher).Flush()
				<-tick.C
			}
		}},
		"half": {"unexpected EOF", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "a 1\n")
		}},
		"loop":                 {"stopped after 10 redirects", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }},
		"HTML":                 {"text/html", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!DOCTYPE html><html></html>") }},
		"no content type":      {"Content-Type", func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil; fmt.Fprint(w, "a 1\n") }},
		"malformed":            {"expected", text("a 1\nb{c=} 2\n")},
		"malformed at the end": {"expected", text("a 1\nb 2\nc{")},
		"OpenMetrics cut off": {"EOF", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0")
			fmt.Fprint(w, "a 1\n")
		}},
		"500": {"500 Internal Server Error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "a 1", http.StatusInternalServerError) }},
	}
}

func manyLabels(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `l%d="v",`, i)
	}
	return b.String()
}

func manySeries(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a{n=\"%d\"} 1\n", i)
	}
	return b.String()
}

func TestHostileTargets(t *testing.T) {
	for name, row := range hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newStore()
			c, err := Config{}.With(
				Static("good", time.Second, nil, serve(t, text("good 1\n"))),
				Static("bad", patience(row.reason), nil, serve(t, row.serve)))
			if err != nil {
				t.Fatal(err)
			}
			s := start(t, c, to)
			to.until(t, "up=0", func() bool {
				return to.count(0, `__name__="up"`, `job="bad"`) >= 1 && to.count(1, `__name__="good"`) >= 2
			})
			if bad := s.TargetsActive()["bad"]; len(bad) != 1 || bad[0].LastError() == nil || !strings.Contains(bad[0].LastError().Error(), row.reason) {
				t.Errorf("reason: %v, want %q", clip(bad[0].LastError()), row.reason)
			}
			if n := to.count(1, `__name__="a`, `job="bad"`); n > 0 {
				t.Errorf("%d samples of refused scrapes were stored", n)
			}
			if n := to.count(0, `__name__="up"`, `job="good"`); n > 0 {
				t.Errorf("the good target was down in %d scrapes", n)
			}
		})
	}
}

// patience is the interval and the timeout of a bad target: short where the timeout is what must end the scrape, and long
// enough for a busy machine where it is not.
func patience(reason string) time.Duration {
	if strings.Contains(reason, "deadline") {
		return time.Second
	}
	return 4 * time.Second
}

func clip(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error()[:min(len(err.Error()), 200)]
}

func TestMemoryStaysBounded(t *testing.T) {
	to := newStore()
	body := `a{b="` + strings.Repeat("x", 17<<20) + `"} 1` + "\n"
	var c Config
	for i := range 4 {
		c = with(t, c, fmt.Sprint(i), serve(t, text(body)))
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start(t, c, to)
	to.until(t, "20 refusals", func() bool { return to.count(0, `__name__="up"`) >= 20 })
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 300<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

// A scrape that is cut off because the program ends says nothing about its target.
func TestStoppingIsNotAFailure(t *testing.T) {
	to := newStore()
	asked := make(chan struct{}, 1)
	address := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	c, err := Config{}.With(Static("slow", 4*time.Second, nil, address))
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(to, Options{Grace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }() // ends by cancel
	<-asked
	began := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %s", took)
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	if len(to.samples) > 0 {
		t.Errorf("stored at the end: %v", to.samples)
	}
}
