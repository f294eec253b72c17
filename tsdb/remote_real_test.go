package tsdb

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// program finds a program that the test needs; where it is missing the test is skipped, and fails in CI.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	missing := name + " is missing: install the Debian package of that name"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// run starts a program, waits until ready answers 200, and ends it with the test.
func run(t *testing.T, ready, path string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		http.DefaultClient.CloseIdleConnections()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", path, log.String())
		}
	})
	await(t, ready, func() bool {
		answer, err := http.Get(ready)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		io.Copy(io.Discard, answer.Body)
		return answer.StatusCode == http.StatusOK
	})
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, again := time.NewTimer(60*time.Second), time.NewTicker(100*time.Millisecond)
	defer deadline.Stop()
	defer again.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("%s: not within a minute", what)
		case <-again.C:
		}
	}
}

// fetchFrom fetches all of a real server.
func fetchFrom(t *testing.T, address, protocol string) *History {
	t.Helper()
	r, err := OpenRemote(t.Context(), address, RemoteOptions{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Protocol() != protocol {
		t.Fatalf("%s is asked by %s", address, r.Protocol())
	}
	mint, maxt := epoch, epoch+ms(sourceHours*time.Hour)
	h, err := r.Fetch(t.Context(), everything(), mint, maxt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	names, err := r.Metrics(t.Context(), mint, maxt)
	if err != nil || !strings.Contains(strings.Join(names, " "), "up") {
		t.Errorf("metrics: %v %v", names, err)
	}
	found, err := r.LabelNames(t.Context(), "up", mint, maxt)
	if err != nil || strings.Join(found, " ") != "__name__ n quoted" {
		t.Errorf("labels: %v %v", found, err)
	}
	return h
}

// What a real Prometheus answers is what its blocks hold, to the last bit.
func TestRealPrometheus(t *testing.T) {
	path := program(t, "prometheus")
	dir := sourceBlocks(t)
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	address := freeAddress(t)
	scrape := fmt.Sprintf("scrape_configs:\n- job_name: self\n  scrape_interval: 1s\n  static_configs:\n  - targets: [%q]\n", address)
	if err := os.WriteFile(config, []byte(scrape), 0o666); err != nil {
		t.Fatal(err)
	}
	want := bits(t, openHistory(t, dir), 0, 1<<62, all)
	copied := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	run(t, "http://"+address+"/-/ready", path, "--config.file="+config, "--storage.tsdb.path="+copied,
		"--web.listen-address="+address, "--storage.tsdb.retention.time=50y", "--log.level=warn")

	wantBits(t, bits(t, fetchFrom(t, "http://"+address, "remote read"), 0, 1<<62, all), want)

	floats := func(kind chunkenc.ValueType, v float64) bool {
		return kind == chunkenc.ValFloat && !value.IsStaleNaN(v)
	}
	asked := fetchFrom(t, "http://"+address+"/api/v1/query", "query API")
	wantBits(t, bits(t, asked, 0, 1<<62, floats), bits(t, openHistory(t, dir), 0, 1<<62, floats))

	// Its directory can be read while it writes there, with what is in the log only.
	await(t, "the Prometheus's own samples in its log", func() bool {
		h, err := OpenHistory(copied, HistoryOptions{TempDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		return count(t, h)["prometheus_build_info"] > 0
	})
}

// What a real VictoriaMetrics was given comes back as it is stored, staleness markers too.
func TestRealVictoriaMetrics(t *testing.T) {
	path, address := program(t, "victoria-metrics"), freeAddress(t)
	run(t, "http://"+address+"/health", path, "-storageDataPath="+t.TempDir(), "-httpListenAddr="+address, "-retentionPeriod=50y", "-loggerLevel=WARN")
	h := source(t)
	// It stores no NaN but staleness markers, no -0, and some 15 digits.
	stored := func(kind chunkenc.ValueType, v float64) bool {
		return kind == chunkenc.ValFloat && (value.IsStaleNaN(v) || !math.IsNaN(v) && (v == math.Trunc(v) && v != 0 || v > 0 && v == float64(float32(v))))
	}
	write(t, "http://"+address+"/api/v1/write", h, stored)
	answer, err := http.Get("http://" + address + "/internal/force_flush")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	want := bits(t, h, 0, 1<<62, stored)
	wantBits(t, bits(t, fetchFrom(t, "http://"+address, "VictoriaMetrics export"), 0, 1<<62, all), want)

	floats := func(_ chunkenc.ValueType, v float64) bool { return !math.IsNaN(v) }
	asked := fetchFrom(t, "http://"+address+"/api/v1/query", "query API")
	wantBits(t, bits(t, asked, 0, 1<<62, floats), bits(t, h, 0, 1<<62, func(kind chunkenc.ValueType, v float64) bool { return stored(kind, v) && floats(kind, v) }))
}

// write sends the samples that keep keeps by remote write.
func write(t *testing.T, url string, h *History, keep func(chunkenc.ValueType, float64) bool) {
	t.Helper()
	q, err := h.Querier(0, 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	request := &prompb.WriteRequest{}
	set := q.Select(t.Context(), true, nil, allSeries()...)
	for set.Next() {
		series := prompb.TimeSeries{}
		set.At().Labels().Range(func(l labels.Label) {
			series.Labels = append(series.Labels, prompb.Label{Name: l.Name, Value: l.Value})
		})
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if s := sampleAt(it, kind); keep(kind, s.v) {
				series.Samples = append(series.Samples, prompb.Sample{Timestamp: s.t, Value: s.v})
			}
		}
		request.Timeseries = append(request.Timeseries, series)
	}
	content, err := request.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(url, "application/x-protobuf", bytes.NewReader(snappy.Encode(nil, content)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		t.Fatalf("write: %s", answer.Status)
	}
}
