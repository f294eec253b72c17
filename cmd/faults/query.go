package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func queryFaults() []experiment {
	return []experiment{
		{id: "E42", fault: "20 hostile queries", criterion: "each answered in 5 s, at most 300 MiB more, idle again in 5 s", trials: 5, short: 1, alone: true, try: hostile},
		{id: "E44", fault: "60 clients with heavy range queries", criterion: "evaluation never older than 2 intervals, none missed", trials: 5, short: 1, alone: true, try: starved},
		{id: "E49", fault: "paths that climb, and requests of noise", criterion: "no 5xx, no panic, no file", trials: 1, short: 1, try: climbing},
	}
}

// hostileQueries are requests that kill or occupy a server which runs what it is asked.
func hostileQueries() []string {
	instant := func(expr string) string { return "/api/v1/query?query=" + url.QueryEscape(expr) }
	ranged := func(expr, start, end, step string) string {
		return "/api/v1/query_range?query=" + url.QueryEscape(expr) + "&start=" + start + "&end=" + end + "&step=" + step
	}
	all := []string{
		instant(`sum_over_time({__name__=~".+"}[1y:1ms])`),
		instant(`sum_over_time(sum_over_time({__name__=~".+"}[1y:1s])[1y:1s])`),
		instant(`max_over_time(up[100y:1ms])`),
		instant(`count_over_time((count_over_time(up[1d:1s]))[1d:1s])`),
		instant(`{__name__=~".+"}`),
		instant(`{__name__=~"(a+)+$"}`),
		instant(`{__name__=~".*.*.*.*.*.*.*.*x"}`),
		instant(`label_replace({__name__=~".+"}, "x", "$1$1$1$1$1$1$1$1", "__name__", "(.*)")`),
		instant(`group_left`),
		instant(strings.Repeat("-", 30_000) + "1"),
		instant(`up` + strings.Repeat(` or up`, 5000)),
		instant(`up` + strings.Repeat(` + up`, 5000)),
		instant(`{x=~"` + strings.Repeat("(a|b)", 4000) + `"}`),
		instant(`quantile_over_time(0.5, {__name__=~".+"}[100y])`),
		ranged(`{__name__=~".+"}`, "0", "2000000000", "1"),
		ranged(`sum(rate({__name__=~".+"}[1h]))`, "0", "1", "0.00001"),
		ranged(`up`, "1", "0", "1"),
		ranged(`count_over_time({__name__=~".+"}[1d:1s])`, "0", "10000", "1"),
		"POST (" + strings.Repeat("(", 1_000_000),
		"POST " + strings.Repeat("sum(", 200_000) + "up",
	}
	return all
}

func hostile(ctx context.Context, t *trial) error {
	m, s, _, err := t.burning(ctx)
	if err != nil {
		return err
	}
	if err := wait(ctx, t.length(10*time.Second, 3*time.Second)); err != nil {
		return err
	}
	idle := m.peak()
	for _, q := range hostileQueries() {
		began := time.Now()
		status, body := m.ask(ctx, q)
		took := time.Since(began)
		t.note("answer s", took.Seconds())
		t.hit = true
		if !m.alive() {
			return fmt.Errorf("%.80s killed the process: %s", q, m.log.tail())
		}
		if status != http.StatusOK && status/100 != 4 {
			return fmt.Errorf("%.80s: status %d: %.200s", q, status, body)
		}
		if err := inTime(fmt.Sprintf("%.80s", q), took, 5*time.Second); err != nil {
			return err
		}
	}
	peak := m.peak()
	t.note("above idle MiB", peak-idle)
	if peak-idle > roomMiB {
		return fmt.Errorf("%.0f MiB resident at the peak, %.0f before", peak, idle)
	}
	before := m.cpu()
	if err := wait(ctx, 5*time.Second); err != nil {
		return err
	}
	busy := (m.cpu() - before) / 5
	t.note("cores busy after", busy)
	if busy > 0.5 {
		return fmt.Errorf("%.2f cores busy after the last answer", busy)
	}
	return m.fresh(ctx, s, 3*time.Second)
}

// ask makes a GET of a path, or a POST of a query.
func (m *watchman) ask(ctx context.Context, q string) (int, string) {
	expr, posted := strings.CutPrefix(q, "POST ")
	if !posted {
		return fetch(ctx, m.base+q, 20*time.Second)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.base+"/api/v1/query", strings.NewReader("query="+url.QueryEscape(expr)))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	return resp.StatusCode, resp.Status
}

func starved(ctx context.Context, t *trial) error {
	m, _, _, err := t.burning(ctx)
	if err != nil {
		return err
	}
	loaded, unload := context.WithCancel(ctx)
	var clients sync.WaitGroup
	var answered atomic.Int64
	heavy := `count_over_time((sum by (job) (rate({__name__=~".+"}[5m])))[1h:1s])`
	for range 60 {
		clients.Go(func() { // ends when the load is taken off
			for loaded.Err() == nil {
				now := time.Now()
				path := fmt.Sprintf("/api/v1/query_range?query=%s&start=%d&end=%d&step=15", url.QueryEscape(heavy), now.Add(-time.Hour).Unix(), now.Unix())
				if status, _ := fetch(loaded, m.base+path, 30*time.Second); status != 0 {
					answered.Add(1)
				}
			}
		})
	}
	err = m.agesUnderLoad(ctx, t.length(50*time.Second, 10*time.Second))
	t.hit = true
	unload()
	clients.Wait()
	t.note("answers", float64(answered.Load()))
	if err != nil {
		return err
	}
	if missed, ok := m.number(ctx, `max(prometheus_rule_group_iterations_missed_total)`); ok && missed > 0 {
		return fmt.Errorf("%v evaluations were missed", missed)
	}
	return nil
}

// agesUnderLoad asks the metrics, which need no engine, how old the newest evaluation is.
func (m *watchman) agesUnderLoad(ctx context.Context, length time.Duration) error {
	for end := time.Now().Add(length); time.Now().Before(end); {
		if err := wait(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		age, err := m.evaluationAge(ctx)
		if err != nil {
			return err
		}
		m.t.note("evaluation age s", age.Seconds())
		if err := tooOld(age); err != nil {
			return err
		}
	}
	return nil
}

func climbing(ctx context.Context, t *trial) error {
	m, s, _, err := t.burning(ctx)
	if err != nil {
		return err
	}
	for _, path := range []string{
		"/..%2f..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/static/..%2f..%2fetc/passwd", "/%00", "/" + strings.Repeat("a", 10_000),
		"/api/v1/label/%00/values", "/api/v1/label/..%2f/values", "/api/v1/query?query=%ff%fe", "/api/v1/series?match[]={", "/api/v1/query_range?start=x", "/api/v1/query?time=1e400&query=1",
		"/api/v1/targets?state=%00", "/api/v1/rules?type=x&file[]=../../etc/passwd", "/api/v1/status/tsdb?limit=-1", "/api/v1/metadata?limit=-5", "/api/v1/format_query?query=(", "/api/v1/nothing",
	} {
		t.hit = true
		status, body := fetch(ctx, m.base+path, 5*time.Second)
		if status >= 500 || status == 0 {
			return fmt.Errorf("%.80s: status %d: %.200s", path, status, body)
		}
		if strings.Contains(body, "root:x:0:0") {
			return fmt.Errorf("%.80s gives /etc/passwd", path)
		}
	}
	if strings.Contains(m.log.String(), "panic") {
		return fmt.Errorf("the log tells of a panic: %s", m.log.tail())
	}
	return m.fresh(ctx, s, 3*time.Second)
}
