package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/evaluator/standard"
	"github.com/slowburn/slowburn/tsdb"
)

// peer is what another program took for the same rules over the same history: medians, and of the ratios in a pair.
// Both are whole processes; the peer's server, with the history in it, runs already.
type peer struct {
	Name      string  `json:"name"`
	PeerS     float64 `json:"peer_s"`
	SlowburnS float64 `json:"slowburn_s"`
	Ratio     float64 `json:"ratio"`
}

// contender is a peer: serve starts its server with the history and waits until it answers at the address; replay is
// its own command; recorded counts what that has left.
type contender struct {
	name, needs string // the programs
	serve       func(ctx context.Context, s settings, dir, address string, log io.Writer) (stop func() error, err error)
	replay      func(s settings, dir, address string) []string
	recorded    func(ctx context.Context, s settings, dir, address string) (int, error)
}

// contenders are given every advantage. Promtool evaluates no alerts. Vmalert is told not to wait between rules, as it
// must for its alerts to see what was recorded.
func contenders() []contender {
	return []contender{
		{"promtool", "prometheus", servePrometheus, func(s settings, dir, address string) []string {
			return []string{
				"tsdb", "create-blocks-from", "rules", "--quiet", "--url=http://" + address, "--eval-interval=1m",
				"--start=" + standard.Start().Format(time.RFC3339), "--end=" + s.end().Format(time.RFC3339),
				"--output-dir=" + filepath.Join(dir, "blocks"), filepath.Join(dir, "rules.yml"),
			}
		}, blocksWritten},
		{"vmalert", "victoria-metrics", serveVictoria, func(s settings, dir, address string) []string {
			return []string{
				"-rule=" + filepath.Join(dir, "rules.yml"), "-datasource.url=http://" + address, "-remoteWrite.url=http://" + address,
				"-replay.timeFrom=" + standard.Start().Format(time.RFC3339), "-replay.timeTo=" + s.end().Format(time.RFC3339),
				"-replay.rulesDelay=0s", "-replay.disableProgressBar", "-evaluationInterval=1m", "-httpListenAddr=127.0.0.1:0",
			}
		}, seriesRecorded},
	}
}

// sideBySide measures every peer that is asked for and installed.
func (s settings) sideBySide(ctx context.Context, f *figures, log io.Writer) error {
	for _, c := range contenders() {
		if !slices.Contains(strings.Split(s.peers, ","), c.name) {
			continue
		}
		_, own := exec.LookPath(c.name)
		_, server := exec.LookPath(c.needs)
		if err := errors.Join(own, server); err != nil {
			fmt.Fprintf(log, "no %s beside: %v\n", c.name, err)
			continue
		}
		p, err := s.against(ctx, c, log)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		f.Peers = append(f.Peers, p)
	}
	return nil
}

func (s settings) against(ctx context.Context, c contender, log io.Writer) (p peer, err error) {
	dir, err := os.MkdirTemp("", "slowburn-bench-")
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rules, err := yaml.Marshal(standard.Rules())
	if err != nil {
		return p, err
	}
	if err := os.WriteFile(filepath.Join(dir, "rules.yml"), rules, 0o600); err != nil {
		return p, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return p, err
	}
	stop, err := c.serve(ctx, s, dir, address, log)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	var theirs, ours, ratios []float64
	for range s.runs {
		their, err := timed(exec.CommandContext(ctx, c.name, c.replay(s, dir, address)...)) //nolint:gosec // a constant name
		if err != nil {
			return p, err
		}
		our, err := timed(s.child(ctx, "replay", nil, nil))
		if err != nil {
			return p, err
		}
		fmt.Fprintf(log, "%s %.2fs, slowburn %.2fs\n", c.name, their, our)
		theirs, ours, ratios = append(theirs, their), append(ours, our), append(ratios, their/our)
	}
	if n, err := c.recorded(ctx, s, dir, address); err != nil || n == 0 {
		return p, fmt.Errorf("recorded %d: %w", n, cmp.Or(err, errNothing))
	}
	return peer{Name: c.name, PeerS: median(theirs), SlowburnS: median(ours), Ratio: median(ratios)}, nil
}

// timed runs a command to its end, in seconds. What it says is told if it fails.
func timed(c *exec.Cmd) (float64, error) {
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	began := time.Now()
	if err := c.Run(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, said.String())
	}
	return time.Since(began).Seconds(), nil
}

// replayAlone is the replay as a whole process.
func replayAlone(ctx context.Context, s settings) error {
	history, err := tsdb.OpenHistory(s.dir, tsdb.HistoryOptions{})
	if err != nil {
		return err
	}
	_, err = replay(ctx, history, s.end(), false)
	return errors.Join(err, history.Close())
}

var errNothing = errors.New("nothing was replayed")

func blocksWritten(_ context.Context, _ settings, dir, _ string) (int, error) {
	blocks, err := os.ReadDir(filepath.Join(dir, "blocks"))
	return len(blocks), err
}

func seriesRecorded(ctx context.Context, s settings, _, address string) (int, error) {
	if err := call(ctx, http.MethodGet, "http://"+address+"/internal/force_flush", nil); err != nil {
		return 0, err
	}
	query := url.Values{
		"match[]": {`{__name__=~"error_budget:.*"}`},
		"start":   {standard.Start().Format(time.RFC3339)}, "end": {s.end().Format(time.RFC3339)},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/api/v1/series?"+query.Encode(), nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var found struct {
		Data []json.RawMessage `json:"data"`
	}
	err = json.NewDecoder(answer.Body).Decode(&found)
	if least := 11 * len(standard.Services()) * s.tenants; err == nil && len(found.Data) < least {
		err = fmt.Errorf("%d series of %d", len(found.Data), least)
	}
	return len(found.Data), err
}

func servePrometheus(ctx context.Context, s settings, dir, address string, log io.Writer) (func() error, error) {
	data := filepath.Join(dir, "data")
	if err := os.CopyFS(data, os.DirFS(s.dir)); err != nil { // it writes into its directory
		return nil, err
	}
	settings := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(settings, nil, 0o600); err != nil {
		return nil, err
	}
	return server(ctx, address, "/-/ready", log, "prometheus", "--config.file="+settings, "--storage.tsdb.path="+data,
		"--storage.tsdb.retention.time=100y", "--web.listen-address="+address)
}

func serveVictoria(ctx context.Context, s settings, dir, address string, log io.Writer) (func() error, error) {
	stop, err := server(ctx, address, "/health", log, "victoria-metrics", "-storageDataPath="+filepath.Join(dir, "data"),
		"-retentionPeriod=100y", "-httpListenAddr="+address)
	if err != nil {
		return nil, err
	}
	from, to := io.Pipe()
	go func() { to.CloseWithError(exposition(ctx, s, to)) }() // ends when the request has read all, or closed the pipe
	err = call(ctx, http.MethodPost, "http://"+address+"/api/v1/import/prometheus", from)
	err = errors.Join(err, from.Close(), call(ctx, http.MethodGet, "http://"+address+"/internal/force_flush", nil))
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// exposition writes the history as text.
func exposition(ctx context.Context, s settings, to io.Writer) error {
	h := standard.New(s.tenants, s.days)
	q, err := h.Querier(standard.Start().UnixMilli(), h.End().UnixMilli())
	if err != nil {
		return err
	}
	w := bufio.NewWriter(to)
	set := q.Select(ctx, true, nil)
	for set.Next() {
		name := standard.Metric + labels.NewBuilder(set.At().Labels()).Del(labels.MetricName).Labels().String()
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			t, v := it.At()
			if _, err := fmt.Fprintf(w, "%s %g %d\n", name, v, t); err != nil {
				return err
			}
		}
	}
	return errors.Join(set.Err(), w.Flush(), q.Close())
}

// server starts a program and waits until it answers. Its end is stop's business.
func server(ctx context.Context, address, ready string, log io.Writer, name string, args ...string) (stop func() error, err error) {
	c := exec.CommandContext(ctx, name, args...) //nolint:gosec // names are constants
	if err := c.Start(); err != nil {
		return nil, err
	}
	stop = func() error {
		err := c.Process.Signal(syscall.SIGTERM)
		if waited := c.Wait(); waited != nil {
			fmt.Fprintf(log, "%s: %v\n", name, waited)
		}
		return err
	}
	patience, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for call(patience, http.MethodGet, "http://"+address+ready, nil) != nil {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-patience.Done():
			return nil, errors.Join(fmt.Errorf("%s does not answer", name), stop())
		}
	}
	return stop, nil
}

func call(ctx context.Context, method, at string, body io.Reader) error {
	request, err := http.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", at, answer.Status)
	}
	return nil
}

func freeAddress(ctx context.Context) (string, error) {
	var l net.ListenConfig
	ln, err := l.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
