package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// target is a service whose metrics are good at /good, and poison at every other path.
type target struct {
	*httptest.Server
	mu     sync.Mutex
	beats  int
	served map[int]time.Time // when the scrape that carried this beat had been answered
	broken map[string]bool   // the alerts that should fire, by name
	hits   map[string]int    // scrapes begun, by path
	stop   chan struct{}     // closed at the end, so that no answer hangs on
}

func (t *trial) serve() *target {
	s := &target{served: map[int]time.Time{}, broken: map[string]bool{}, hits: map[string]int{}, stop: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.defers(s.Server.Close)
	t.defers(func() { close(s.stop) })
	return s
}

func (s *target) good() job            { return job{name: "good", url: s.URL + "/good"} }
func (s *target) bad(path string) job  { return job{name: "bad", url: s.URL + "/" + path} }
func (s *target) scraped(p string) int { s.mu.Lock(); defer s.mu.Unlock(); return s.hits["/"+p] }

// set breaks or mends what an alert watches.
func (s *target) set(name string, broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[name] = broken
}

// finished lists the beats whose scrape was answered in a span of time.
func (s *target) finished(from, to time.Time) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var beats []int
	for n, at := range s.served {
		if at.After(from) && at.Before(to) {
			beats = append(beats, n)
		}
	}
	return beats
}

// ServeHTTP answers /good, and poison by its name.
func (s *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.hits[r.URL.Path]++
	s.mu.Unlock()
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "good" {
		s.beat(w)
		return
	}
	if p, ok := poisons()[name]; ok {
		p(w, r, s.stop)
		return
	}
	http.NotFound(w, r)
}

func (s *target) beat(w http.ResponseWriter) {
	s.mu.Lock()
	s.beats++
	n := s.beats
	var text strings.Builder
	fmt.Fprintf(&text, "# TYPE beat gauge\nbeat %d\n# TYPE broken gauge\n", n)
	for name, broken := range s.broken {
		v := 0
		if broken {
			v = 1
		}
		fmt.Fprintf(&text, "broken{name=%q} %d\n", name, v)
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", plainText)
	if _, err := io.WriteString(w, text.String()); err != nil {
		return
	}
	s.mu.Lock()
	s.served[n] = time.Now()
	s.mu.Unlock()
}

const plainText = "text/plain; version=0.0.4; charset=utf-8"

// poison writes one bad answer. It returns at the latest when stop closes.
type poison func(w http.ResponseWriter, r *http.Request, stop <-chan struct{})

// poisons are the bad answers by name.
func poisons() map[string]poison {
	all := map[string]poison{
		"huge":     flood("huge", 10<<30),
		"oneline":  longLine(17 << 20),
		"line1g":   longLine(1 << 30),
		"gzipbomb": bomb,
		"million":  flood("many", 30<<20),
		"hang": func(_ http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
			pause(r.Context(), stop, time.Hour)
		},
		"drip": drip,
		"half": half,
		"loop": func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
			http.Redirect(w, r, "/loop", http.StatusFound)
		},
		"status": func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
			http.Error(w, "broken", http.StatusInternalServerError)
		},
	}
	for name, a := range answers() {
		all[name] = func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
			if a.contentType == "" {
				w.Header()["Content-Type"] = nil
			} else {
				w.Header().Set("Content-Type", a.contentType)
			}
			_, _ = io.WriteString(w, a.body) // a scraper that goes away is what we are here for
		}
	}
	return all
}

type answer struct{ contentType, body string }

// answers are the poisons that are only texts.
func answers() map[string]answer {
	const openMetrics = "application/openmetrics-text; version=1.0.0"
	many := strings.Builder{}
	many.WriteString("labels_10000{")
	for i := range 10_000 {
		fmt.Fprintf(&many, "l%d=\"v\",", i)
	}
	many.WriteString("} 1\n")
	now := time.Now()
	return map[string]answer{
		"labels":       {plainText, many.String()},
		"malformed":    {plainText, "refused 1\nthis is {not metrics\n"},
		"malformed_om": {openMetrics, "refused 1\n# no EOF"},
		"html":         {"text/html", "<!doctype html><title>refused 1</title>"},
		"untyped":      {"", "refused 1\n{{{{\n"},
		"hostile":      {plainText, fmt.Sprintf("# HELP hostile %s\nhostile{tenant=%q} 1\n", payload, payload)},
		"naninf":       {plainText, "strange NaN\nstrange_inf +Inf\nstrange_neg -Inf\nkept 1\n"},
		"future":       {plainText, fmt.Sprintf("shifted 1 %d\nkept 1\n", now.Add(24*time.Hour).UnixMilli())},
		"past":         {plainText, fmt.Sprintf("shifted 1 %d\nkept 1\n", now.Add(-24*time.Hour).UnixMilli())},
	}
}

// flood sends series without end, up to size.
func flood(name string, size int) poison {
	return func(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
		w.Header().Set("Content-Type", plainText)
		for n, sent := 0, 0; sent < size && going(r.Context(), stop); n++ {
			written, err := fmt.Fprintf(w, "%s{n=\"%d\"} 1\n", name, n)
			if err != nil {
				return
			}
			sent += written
		}
	}
}

// longLine sends one series with a label value of a size.
func longLine(size int) poison {
	return func(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
		w.Header().Set("Content-Type", plainText)
		block := strings.Repeat("x", 1<<20)
		_, _ = io.WriteString(w, `long{v="`) // an error shows at the next write
		for sent := 0; sent < size && going(r.Context(), stop); sent += len(block) {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, "\"} 1\n") // nobody left to tell
	}
}

// bomb sends a gibibyte that is a megabyte on the wire.
func bomb(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	w.Header().Set("Content-Type", plainText)
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	defer z.Close()
	block := []byte(strings.Repeat("# zeros\n", 1<<17))
	for sent := 0; sent < 1<<30 && going(r.Context(), stop); sent += len(block) {
		if _, err := z.Write(block); err != nil {
			return
		}
	}
}

func drip(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	w.Header().Set("Content-Type", plainText)
	for going(r.Context(), stop) {
		if _, err := io.WriteString(w, "#"); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush() // an error shows at the next write
		pause(r.Context(), stop, 100*time.Millisecond)
	}
}

// half promises more than it sends.
func half(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
	w.Header().Set("Content-Type", plainText)
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, "refused 1\n") // a scraper that goes away is what we are here for
}

func going(ctx context.Context, stop <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-stop:
		return false
	default:
		return true
	}
}

func pause(ctx context.Context, stop <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-stop:
	case <-timer.C:
	}
}
