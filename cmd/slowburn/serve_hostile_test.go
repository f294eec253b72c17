package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slowburn/slowburn/tsdb"
)

// crowded is a data directory with many series of a few hours.
func crowded(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("# TYPE http_requests counter\n")
	end := time.Now().Add(-time.Minute)
	for series := range 1000 {
		for minute := 240; minute >= 0; minute-- {
			fmt.Fprintf(&text, "http_requests_total{service=\"svc\",tenant=\"t%d\",code=\"200\"} %d %d\n", series, 1000-minute, end.Add(-time.Duration(minute)*time.Minute).Unix())
		}
	}
	text.WriteString("# EOF\n")
	file, data := filepath.Join(t.TempDir(), "past.om"), filepath.Join(t.TempDir(), "data")
	write(t, file, text.String())
	h, err := tsdb.ReadOpenMetrics(t.Context(), file, tsdb.HistoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	mint, maxt := h.Extent()
	if err := tsdb.Import(t.Context(), h, mint, maxt, data, nil); err != nil {
		t.Fatal(err)
	}
	return data
}

// hostileInterval is how often rules are evaluated here.
const hostileInterval = 5 * time.Second

// hostileQueries are twenty, by path and form.
func hostileQueries() []string {
	now := time.Now()
	ranged := func(query string, back, step time.Duration) string {
		return fmt.Sprintf("query_range?query=%s&start=%d&end=%d&step=%g", url.QueryEscape(query), now.Add(-back).Unix(), now.Unix(), step.Seconds())
	}
	instant := func(query string) string { return "query?query=" + url.QueryEscape(query) }
	year := 365 * 24 * time.Hour
	return []string{
		instant(`sum_over_time({__name__=~".+"}[1y:1ms])`),
		instant(`count_over_time({__name__=~".+"}[100y:1s])`),
		instant(strings.Repeat("(", 1_000_000) + "1" + strings.Repeat(")", 1_000_000)),
		instant(strings.Repeat("sum(", 200_000) + "up" + strings.Repeat(")", 200_000)),
		instant(strings.Repeat("-", 200_000) + "1"),
		instant(`{__name__=~".*.*.*.*.*.*.*.*.*x"}`),
		instant(`{__name__=~".+",tenant=~"(((((t.*)*)*)*)*)*y"}`),
		instant(`{__name__=~"(.{1,1000}){1,1000}"}`),
		ranged("up", year, time.Millisecond),
		ranged("http_requests_total", 4*time.Hour, time.Second),
		ranged("rate(http_requests_total[4h])", 4*time.Hour, 2*time.Second),
		ranged("quantile_over_time(0.5, http_requests_total[4h])", 4*time.Hour, 2*time.Second),
		ranged("sum_over_time(http_requests_total[10s:1ms])", year, time.Hour),
		ranged("http_requests_total * on() group_right http_requests_total", 4*time.Hour, 2*time.Second),
		ranged("topk(2000, http_requests_total) or bottomk(2000, http_requests_total)", 4*time.Hour, 2*time.Second),
		ranged("sort_desc(max_over_time(rate(http_requests_total[5m])[4h:2s]))", 4*time.Hour, 2*time.Second),
		ranged("count_values('v', http_requests_total)", 4*time.Hour, 2*time.Second),
		ranged("holt_winters(http_requests_total[4h], 0.5, 0.5)", 4*time.Hour, 2*time.Second),
		instant("label_replace(" + strings.Repeat(`label_replace(`, 40) + "up" + strings.Repeat(`, "x", "$1$1", "x", "(.*)")`, 40) + `, "x", "$1$1", "x", "(.*)")`),
		"series?match[]=" + url.QueryEscape(`{__name__=~".+"}`) + "&start=0&end=9999999999",
	}
}

// resident is the memory of a process in bytes, and spent the processor time it has used.
func resident(t *testing.T, pid int) (rss int64, spent time.Duration) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	number := func(n int) int64 { v, _ := strconv.ParseInt(fields[n], 10, 64); return v }
	return number(21) * int64(os.Getpagesize()), time.Duration(number(11)+number(12)) * 10 * time.Millisecond
}

// TestHostileQueriesCostLittle asks twenty hostile queries at once, and then lets sixty clients ask heavy ones: memory
// stays bounded, the processor comes to rest, and the rules are evaluated in time.
func TestHostileQueriesCostLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: hostile queries take half a minute")
	}
	if raceBuild {
		t.Skip("what a build with the race detector costs says nothing: make test-load runs without it")
	}
	_, args, address := watched(t, "")
	for i, a := range args {
		switch a {
		case "--data-dir":
			args[i+1] = crowded(t)
		case "--evaluation-interval":
			args[i+1] = hostileInterval.String()
		}
	}
	p := start(t, nil, "slowburn", args...)
	eventually(t, 30*time.Second, "ready and evaluating", func() (bool, string) {
		_, text := get(address + "/api/v1/query?query=" + url.QueryEscape("count(error_budget:burn_rate:5m)"))
		return strings.Contains(text, `"1000"`), text
	})
	idle, _ := resident(t, p.cmd.Process.Pid)
	stopWatching := watchMemory(t, p.cmd.Process.Pid)

	client := &http.Client{Timeout: 40 * time.Second}
	var wg sync.WaitGroup
	for n, q := range hostileQueries() {
		wg.Go(func() {
			path, form, _ := strings.Cut(q, "?")
			began := time.Now()
			resp, err := client.Post(address+"/api/v1/"+path, "application/x-www-form-urlencoded", strings.NewReader(form)) //nolint:noctx // the client has a timeout
			if err != nil {
				t.Errorf("query %d: %v", n, err)
				return
			}
			resp.Body.Close()
			t.Logf("query %d: %d after %s", n, resp.StatusCode, time.Since(began).Round(time.Millisecond))
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("query %d was answered after %s", n, took)
			}
			if resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("query %d: status %d", n, resp.StatusCode)
			}
		})
	}
	wg.Wait()
	most := stopWatching()
	if most-idle > 300<<20 {
		t.Errorf("memory rose by %d MiB, more than 300", (most-idle)>>20)
	}
	t.Logf("idle %d MiB, peak %d MiB", idle>>20, most>>20)
	eventually(t, 10*time.Second, "the processor comes to rest", restsFor(t, p.cmd.Process.Pid))
	starve(t, address, client)
}

// watchMemory samples a process's memory until it is stopped, and then tells the most there was.
func watchMemory(t *testing.T, pid int) (stop func() int64) {
	quit, done := make(chan struct{}), make(chan struct{})
	var most int64
	go func() { // ends by stop
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				rss, _ := resident(t, pid)
				most = max(most, rss)
			}
		}
	}()
	return func() int64 { close(quit); <-done; return most }
}

// restsFor tells whether a process used less than half a core since it was last asked.
func restsFor(t *testing.T, pid int) func() (bool, string) {
	_, last := resident(t, pid)
	at := time.Now()
	return func() (bool, string) {
		_, now := resident(t, pid)
		used, passed := now-last, time.Since(at)
		last, at = now, time.Now()
		return used < passed/2, fmt.Sprintf("%s of processor time in %s", used, passed)
	}
}

// starve has sixty clients ask heavy range queries for some seconds. Meanwhile the newest evaluation may never be older
// than two intervals.
func starve(t *testing.T, address string, client *http.Client) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() { // ends with quit
			for {
				select {
				case <-quit:
					return
				default:
				}
				now := time.Now().Unix()
				resp, err := client.Get(fmt.Sprintf("%s/api/v1/query_range?query=%s&start=%d&end=%d&step=15", //nolint:noctx // the client has a timeout
					address, url.QueryEscape("sum by (tenant) (rate(http_requests_total[1h]))"), now-4*3600, now))
				if err == nil {
					resp.Body.Close()
				}
			}
		})
	}
	oldest, asked := time.Duration(0), 0
	until := time.NewTimer(8 * time.Second)
	tick := time.NewTicker(250 * time.Millisecond)
	for watching := true; watching; {
		select {
		case <-until.C:
			watching = false
		case <-tick.C:
			if age, ok := evaluationAge(address); ok {
				oldest, asked = max(oldest, age), asked+1
			}
		}
	}
	close(quit)
	wg.Wait()
	t.Logf("sixty clients: the newest evaluation was at most %s old, asked %d times", oldest.Round(time.Millisecond), asked)
	if asked < 3 || oldest > 2*hostileInterval {
		t.Errorf("the newest evaluation was %s old, with an interval of %s (asked %d times)", oldest, hostileInterval, asked)
	}
}

// evaluationAge is how long ago the generated group of burn rates was evaluated last.
func evaluationAge(address string) (time.Duration, bool) {
	_, text := get(address + "/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, `prometheus_rule_group_last_evaluation_timestamp_seconds{rule_group="slowburn;svc/availability"} `); ok {
			seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return time.Since(time.UnixMilli(int64(seconds * 1000))), err == nil
		}
	}
	return 0, false
}
