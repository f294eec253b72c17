package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// countingTarget is a service whose requests go up by ten at each scrape, half of them failed.
func countingTarget(t *testing.T) (address string) {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		v := n.Add(5)
		fmt.Fprintf(w, "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n")
		fmt.Fprintf(w, "http_requests_total{tenant=\"acme\",code=\"200\"} %d\nhttp_requests_total{tenant=\"acme\",code=\"500\"} %d\n", v, v)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// watched is a directory with one SLO and a scrape configuration for a target.
func watched(t *testing.T, target string) (dir string, args []string, address string) {
	dir = t.TempDir()
	write(t, filepath.Join(dir, "svc.ts"), sound)
	write(t, filepath.Join(dir, "package.json"), `{"name": "svc"}`)
	scrape := "scrape_configs: []\n"
	if target != "" {
		scrape = "scrape_configs:\n- {job_name: svc, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{targets: ['" + target + "'], labels: {service: svc}}]}\n"
	}
	write(t, filepath.Join(dir, "scrape.yml"), scrape)
	listen := "127.0.0.1:" + freePort(t)
	return dir, []string{"serve", dir, "--listen", listen, "--data-dir", filepath.Join(t.TempDir(), "data"),
		"--scrape-config", filepath.Join(dir, "scrape.yml"), "--evaluation-interval", "1s"}, "http://" + listen
}

// TestRemoteWriteReachesOthers sends samples and recordings to a real VictoriaMetrics, a real Prometheus and another
// slowburn, which evaluates what it gets.
func TestRemoteWriteReachesOthers(t *testing.T) {
	victoria := program(t, "install the Debian package victoria-metrics", "victoria-metrics")
	prometheus := program(t, "install the Debian package prometheus", "prometheus")
	vm, prom := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	start(t, nil, victoria, "-httpListenAddr", vm, "-storageDataPath", t.TempDir())
	empty := filepath.Join(t.TempDir(), "prometheus.yml")
	write(t, empty, "scrape_configs: []\n")
	start(t, nil, prometheus, "--config.file", empty, "--storage.tsdb.path", t.TempDir(), "--web.listen-address", prom, "--web.enable-remote-write-receiver")
	_, args, second := watched(t, "")
	receiver := start(t, nil, "slowburn", append(args, "--web.enable-remote-write-receiver")...)
	for what, url := range map[string]string{"VictoriaMetrics": "http://" + vm + "/health", "Prometheus": "http://" + prom + "/-/ready", "the receiver": second + "/-/ready"} {
		eventually(t, 30*time.Second, what+" answers", func() (bool, string) {
			status, text := get(url)
			return status == http.StatusOK, text
		})
	}

	dir, args, first := watched(t, countingTarget(t))
	remote := filepath.Join(dir, "remote.yml")
	write(t, remote, "global: {external_labels: {site: x}}\nremote_write:\n- {url: 'http://"+vm+"/api/v1/write'}\n- {url: 'http://"+prom+"/api/v1/write'}\n- {url: '"+second+"/api/v1/write'}\n")
	sender := start(t, nil, "slowburn", append(args, "--remote-write-config", remote)...)

	for what, base := range map[string]string{"VictoriaMetrics": "http://" + vm, "Prometheus": "http://" + prom, "the receiver": second} {
		for _, query := range []string{`http_requests_total{site="x",tenant="acme",code="500"} > 5`, `error_budget:burn_rate:5m{site="x",slo="availability"}`} {
			eventually(t, 40*time.Second, query+" in "+what, func() (bool, string) {
				_, text := get(base + "/api/v1/query?query=" + url.QueryEscape(query))
				return strings.Contains(text, `"tenant":"acme"`) && strings.Contains(text, `"site":"x"`), text
			})
		}
	}
	eventually(t, 20*time.Second, "the receiver's own rules fire on what was sent to it", func() (bool, string) {
		_, text := get(second + "/api/v1/alerts")
		return strings.Contains(text, `"state":"firing"`) && strings.Contains(text, `"tenant":"acme"`), text
	})
	if _, text := get(first + "/metrics"); !strings.Contains(text, "prometheus_remote_storage_samples_total{") {
		t.Error("the queues export no metrics")
	}
	if status, text := request(http.MethodPost, first+"/api/v1/write", "", nil); status != http.StatusNotFound {
		t.Errorf("without its flag the receiver answers %d %s", status, text)
	}
	for what, body := range map[string]string{"a body that claims 4 GiB": "\xff\xff\xff\xff\x0f", "a body of 9 MiB": "\x05" + strings.Repeat("x", 9<<20)} {
		if status, text := request(http.MethodPost, second+"/api/v1/write", body, map[string]string{"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}); status < 400 || status >= 500 {
			t.Errorf("%s: %d %s", what, status, text)
		}
	}
	for _, p := range []*process{sender, receiver} {
		if status, took := p.terminate(15 * time.Second); status != 0 || took > 8*time.Second {
			t.Errorf("SIGTERM: exit status %d after %s", status, took)
		}
	}
}

func TestRemoteWriteConfigurationIsChecked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "remote.yml")
	for text, want := range map[string]string{
		"remote_write: []\n":           file + ": it has no remote_write section",
		"remote_write: [{uri: 'x'}]\n": "field uri not found",
		"remote_write: [{url: 'http://u:canary@a', tls_config: {ca_file: absent.pem}}]\n": "remote_write http://a: ",
	} {
		write(t, file, text)
		cfg, err := loadRemote(file)
		if err == nil {
			err = checkRemote(cfg)
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
