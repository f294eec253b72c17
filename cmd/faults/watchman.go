package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// watchman is a slowburn serve under trial. It may be started again on the same data after it has ended.
type watchman struct {
	t       *trial
	base    string // http://127.0.0.1:port
	dataDir string
	args    []string
	cmd     *exec.Cmd
	done    chan struct{}
	log     *journal
}

// journal keeps what a process wrote, up to a bound.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.text.Len() < 8<<20 {
		j.text.Write(p)
	}
	return len(p), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// tail is the end of what was written, for errors.
func (j *journal) tail() string {
	text := strings.TrimSpace(j.String())
	if len(text) > 1500 {
		text = "…" + text[len(text)-1500:]
	}
	return text
}

// world is what a watchman watches.
type world struct {
	targets       []job
	rules         string // a rule file, verbatim
	alertmanagers []string
	args          []string
}

// job is one scrape job of one target.
type job struct {
	name, url string
	interval  string // empty: 1s
}

// watch writes the world's files and starts a watchman on it, which the trial's end kills.
func (t *trial) watch(ctx context.Context, w world) (*watchman, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	scrapes, err := t.write("scrape.yml", scrapeConfig(w.targets))
	if err != nil {
		return nil, err
	}
	rules, err := t.write("extra.rules.yml", w.rules)
	if err != nil {
		return nil, err
	}
	if _, err := t.write("src/README.md", "No contracts here.\n"); err != nil {
		return nil, err
	}
	m := &watchman{
		t: t, base: "http://127.0.0.1:" + port, dataDir: filepath.Join(t.dir, "data"), log: &journal{},
		args: []string{
			"serve", filepath.Join(t.dir, "src"), "--data-dir", filepath.Join(t.dir, "data"), "--listen", "127.0.0.1:" + port,
			"--scrape-config", scrapes, "--rule-file", rules, "--evaluation-interval", "1s", "--resend-delay", "5s",
		},
	}
	for _, am := range w.alertmanagers {
		m.args = append(m.args, "--alertmanager", am)
	}
	m.args = append(m.args, w.args...)
	t.defers(m.kill)
	return m, m.start(ctx)
}

func scrapeConfig(jobs []job) string {
	var b strings.Builder
	b.WriteString("scrape_configs:\n")
	for _, j := range jobs {
		u, err := url.Parse(j.url)
		if err != nil {
			panic(err) // our own server's
		}
		interval := j.interval
		if interval == "" {
			interval = "1s"
		}
		fmt.Fprintf(&b, "- job_name: %s\n  scrape_interval: %s\n  scrape_timeout: %s\n  metrics_path: %s\n  static_configs: [{targets: ['%s']}]\n",
			j.name, interval, interval, u.Path, u.Host)
	}
	return b.String()
}

// start runs the process again on the same data.
func (m *watchman) start(ctx context.Context) error {
	m.cmd = exec.CommandContext(context.WithoutCancel(ctx), m.t.slowburn, m.args...) //nolint:gosec // the program that was named to be tried
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	if err := m.cmd.Start(); err != nil {
		return err
	}
	cmd, done := m.cmd, make(chan struct{})
	m.done = done
	go func() { // ends with the process, which the trial's end kills
		_ = cmd.Wait() // the exit status is in ProcessState
		close(done)
	}()
	return nil
}

// startReady starts the process and waits until it says it is ready.
func (m *watchman) startReady(ctx context.Context, within time.Duration) error {
	if err := m.start(ctx); err != nil {
		return err
	}
	return m.ready(ctx, within)
}

// ready waits for /-/ready, and notes how long that took.
func (m *watchman) ready(ctx context.Context, within time.Duration) error {
	took, err := until(ctx, within, "ready", func() (bool, string) {
		if !m.alive() {
			return false, "the process ended"
		}
		status, body := m.get(ctx, "/-/ready")
		return status == http.StatusOK, fmt.Sprint(status, " ", body)
	})
	if err != nil {
		return fmt.Errorf("%w; its log: %s", err, m.log.tail())
	}
	m.t.note("ready s", took.Seconds())
	return nil
}

func (m *watchman) alive() bool {
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// kill ends the process at once. It may have ended already.
func (m *watchman) kill() {
	if m.cmd == nil || m.cmd.Process == nil {
		return
	}
	_ = m.cmd.Process.Kill() // an ended process can't be killed
	<-m.done
}

func (m *watchman) signal(s syscall.Signal) error { return m.cmd.Process.Signal(s) }

// terminate sends SIGTERM, and gives the exit status and the time it took.
func (m *watchman) terminate(within time.Duration) (int, time.Duration, error) {
	began := time.Now()
	if err := m.signal(syscall.SIGTERM); err != nil {
		return 0, 0, err
	}
	select {
	case <-m.done:
		took := time.Since(began)
		return m.cmd.ProcessState.ExitCode(), took, inTime("exit after SIGTERM", took, within)
	case <-time.After(within + patience):
		return 0, within, fmt.Errorf("still runs %s after SIGTERM", within+patience)
	}
}

// get answers the status and the body; 0 and the error where there was none.
func (m *watchman) get(ctx context.Context, path string) (int, string) {
	return fetch(ctx, m.base+path, 10*time.Second)
}

func fetch(ctx context.Context, url string, timeout time.Duration) (int, string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 32<<20))
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// series is one series of an answer of the query API.
type series struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
	Values [][2]any          `json:"values"`
}

// query asks the API for an instant.
func (m *watchman) query(ctx context.Context, expr string) ([]series, error) {
	status, body := m.get(ctx, "/api/v1/query?query="+url.QueryEscape(expr))
	var answer struct {
		Status, Error string
		Data          struct{ Result []series }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, fmt.Errorf("query %s: status %d: %w", expr, status, err)
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("query %s: status %d: %s", expr, status, answer.Error)
	}
	return answer.Data.Result, nil
}

// number is the value of a query that has one series; ok tells whether it had.
func (m *watchman) number(ctx context.Context, expr string) (v float64, ok bool) {
	result, err := m.query(ctx, expr)
	if err != nil || len(result) != 1 {
		return 0, false
	}
	v, err = strconv.ParseFloat(fmt.Sprint(result[0].Value[1]), 64)
	return v, err == nil
}

// stored is every value of the good target's counter in the last hour.
func (m *watchman) stored(ctx context.Context) (map[int]bool, error) {
	result, err := m.query(ctx, `beat[1h]`)
	if err != nil {
		return nil, err
	}
	all := map[int]bool{}
	for _, s := range result {
		for _, v := range s.Values {
			n, err := strconv.ParseFloat(fmt.Sprint(v[1]), 64)
			if err != nil {
				return nil, err
			}
			all[int(n)] = true
		}
	}
	return all, nil
}

// peak is the largest resident memory that the process ever had, in MiB.
func (m *watchman) peak() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return 0
	}
	return kib / 1024
}

// cpu is the processor time of the process so far, in seconds.
func (m *watchman) cpu() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var ticks float64
	for _, f := range fields[11:13] { // user and system time, in hundredths
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return ticks / 100
}

func freePort() (string, error) {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, err
}
