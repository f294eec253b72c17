package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slowburn/slowburn/tsdb"
	"github.com/slowburn/slowburn/web"
)

// pager is an Alertmanager that keeps what it is sent, by tenant and tier.
type pager struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]page
	auth  string
}

func newPager(t *testing.T) *pager {
	p := &pager{pages: map[string]page{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sent []page
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.auth = r.Header.Get("Authorization")
		for _, one := range sent {
			p.pages[one.Labels["tenant"]+" "+one.Labels["burn_tier"]] = one
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *pager) got(key string) (page, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one, ok := p.pages[key]
	return one, ok
}

// experienced is a directory with one SLO, and a data directory that knows the nine days past.
func experienced(t *testing.T) (dir, data string) {
	dir, data = t.TempDir(), filepath.Join(t.TempDir(), "data")
	write(t, filepath.Join(dir, "svc.ts"), sound)
	write(t, filepath.Join(dir, "package.json"), `{"name": "svc"}`)
	write(t, filepath.Join(dir, "scrape.yml"), "scrape_configs: []\n")
	h, err := tsdb.ReadOpenMetrics(t.Context(), past(t, 9, time.Now().Add(-30*time.Second)), tsdb.HistoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	mint, maxt := h.Extent()
	if err := tsdb.Import(t.Context(), h, mint, maxt, data, nil); err != nil {
		t.Fatal(err)
	}
	return dir, data
}

// TestServeSendsOnlyWhatHistoryBears runs serve over a history in which one tenant's alert fires all the time. It
// starts without an Alertmanager, and gets one by a reload once it has judged.
func TestServeSendsOnlyWhatHistoryBears(t *testing.T) {
	dir, data := experienced(t)
	alerting := filepath.Join(dir, "alerting.yml")
	write(t, alerting, "global: {external_labels: {site: x}}\n")
	listen := "127.0.0.1:" + freePort(t)
	address := "http://" + listen
	p := start(t, nil, "slowburn", "serve", dir, "--listen", listen, "--data-dir", data, "--scrape-config", filepath.Join(dir, "scrape.yml"),
		"--alertmanager-config", alerting, "--evaluation-interval", "1s", "--resend-delay", "1s")
	eventually(t, 60*time.Second, "the noisy alert is held", func() (bool, string) {
		_, text := get(address + "/metrics")
		return strings.Contains(text, `slowburn_alert_verdict{burn_tier="fast",service="svc",slo="availability",tenant="noisy",verdict="held"} 1`) &&
			!strings.Contains(text, `slowburn_alerts_held_total{burn_tier="fast",service="svc",slo="availability"} 0`), grep(text, "verdict")
	})
	for path, want := range map[string][]string{
		"/api/v1/alerts":            {`"slowburn_verdict":"held: fires 100% of the time"`, `"slowburn_verdict":"validated"`, `"slowburn_verdict":"unproven: not enough history`},
		"/api/v1/rules":             {`"slowburn_verdict":"held: fires 100% of the time"`},
		"/api/v1/slowburn/verdicts": {`"verdict":"held","reasons":["fires 100% of the time"],"pushed":false`},
		"/":                         {"Held back", "fires 100% of the time"},
	} {
		_, text := get(address + path)
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %s: %.600s", path, part, text)
			}
		}
	}
	if !strings.Contains(p.output(), "Alert is held back") {
		t.Errorf("the log does not say so")
	}

	pages := newPager(t)
	secret := filepath.Join(dir, "password")
	write(t, secret, "canary-hunter2")
	write(t, alerting, "global: {external_labels: {site: x}}\nalerting: {alertmanagers: [{basic_auth: {username: u, password_file: password}, static_configs: [{targets: ['"+
		strings.TrimPrefix(pages.URL, "http://")+"']}]}]}\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the sound and the young alert reach the Alertmanager of the reload", func() (bool, string) {
		_, a := pages.got("sound fast")
		_, b := pages.got("young fast")
		return a && b, p.output()
	})
	one, _ := pages.got("sound fast")
	if one.Annotations[web.VerdictAnnotation] != "" || one.Labels["site"] != "x" || pages.auth != "Basic dTpjYW5hcnktaHVudGVyMg==" {
		t.Errorf("sound: %v %v, authorization %q", one.Annotations, one.Labels, pages.auth)
	}
	if one, _ = pages.got("young fast"); !strings.HasPrefix(one.Annotations[web.VerdictAnnotation], "unproven: not enough history") {
		t.Errorf("young: %v", one.Annotations)
	}
	if _, sent := pages.got("noisy fast"); sent {
		t.Error("the held alert was sent")
	}
	if status, took := p.terminate(10 * time.Second); status != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: exit status %d after %s", status, took)
	}
	if _, err := os.Stat(filepath.Join(data, verdictFile)); err != nil {
		t.Error(err)
	}
}
