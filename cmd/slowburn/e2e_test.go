package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slowburn/slowburn/fixtures"
	"github.com/slowburn/slowburn/tsdb"
)

// asks are the shop's services with a path to ask for.
var asks = map[string]string{"api": "/orders", "search": "/search?q=chair", "analytics": "/sales", "billing": "/invoices"}

// TestEndToEnd runs the shop's services under Node, serves them, and reads the page back from a real
// Alertmanager: it must come while acme's searches fail, and go when they work again.
func TestEndToEnd(t *testing.T) {
	node := program(t, "install Node 20", "node")
	alertmanager := program(t, "install the Debian package prometheus-alertmanager", "prometheus-alertmanager", "alertmanager")
	shop, err := filepath.Abs("../../fixtures/shop")
	if err != nil {
		t.Fatal(err)
	}
	if !haveProgram(t, filepath.Join(shop, "services", "search", "dist", "main.js"), "run npm ci && npm run build in fixtures/shop") {
		t.Skip("the shop is not built: run npm ci && npm run build in fixtures/shop")
	}
	ports := startShop(t, node, shop)
	pages := startAlertmanager(t, alertmanager, filepath.Join(shop, "alertmanager.yml"))
	slowburn, address, data := startServe(t, ports, pages)

	load := startLoad(t, ports)
	eventually(t, 30*time.Second, "burn rates of all tenants on /metrics", func() (bool, string) {
		_, text := get(address + "/metrics")
		ok := strings.Contains(text, `slowburn_objective_ratio{service="search",slo="availability"} 0.999`)
		for _, tenant := range []string{"acme", "globex", "initech"} {
			ok = ok && strings.Contains(text, `slowburn_burn_rate{service="search",slo="availability",tenant="`+tenant+`",window="5s"} 0`)
			ok = ok && strings.Contains(text, `slowburn_error_budget_remaining_ratio{service="search",slo="availability",tenant="`+tenant+`"} 1`)
		}
		return ok, grep(text, "slowburn_burn_rate")
	})
	if got := alertsAt(t, pages); len(got) != 0 {
		t.Fatalf("alerts before anything failed: %v", got)
	}

	search := "http://127.0.0.1:" + ports["search"]
	if status, text := request(http.MethodPost, search+"/admin/faults", `{"tenant":"acme","ratio":0.5}`, nil); status != http.StatusCreated {
		t.Fatalf("make acme's searches fail: %d %s", status, text)
	}
	eventually(t, 60*time.Second, "the fast page in Alertmanager", func() (bool, string) {
		got := alertsAt(t, pages)
		_, ok := got["fast"]
		return ok, fmt.Sprint(got)
	})
	checkPage(t, alertsAt(t, pages)["fast"])
	checkAPI(t, address)

	if status, text := request(http.MethodDelete, search+"/admin/faults", "", nil); status != http.StatusOK {
		t.Fatalf("mend acme's searches: %d %s", status, text)
	}
	eventually(t, 90*time.Second, "all alerts resolved in Alertmanager", func() (bool, string) {
		got := alertsAt(t, pages)
		return len(got) == 0, fmt.Sprint(got)
	})

	status, took := slowburn.terminate(10 * time.Second)
	if status != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM under load: exit status %d after %s, want 0 within 5s", status, took)
	}
	t.Logf("SIGTERM under load took %s; %d requests were sent", took.Round(time.Millisecond), load())
	checkReopens(t, data)
}

// startShop starts the four services on free ports.
func startShop(t *testing.T, node, shop string) map[string]string {
	ports := map[string]string{}
	for service := range asks {
		ports[service] = freePort(t)
		start(t, []string{"HOST=127.0.0.1", "PORT=" + ports[service]}, node, filepath.Join(shop, "services", service, "dist", "main.js"))
	}
	for service, port := range ports {
		eventually(t, 20*time.Second, service+" answers", func() (bool, string) {
			status, text := get("http://127.0.0.1:" + port + "/healthz")
			return status == http.StatusOK, text
		})
	}
	return ports
}

func startAlertmanager(t *testing.T, binary, config string) string {
	port := freePort(t)
	start(t, nil, binary, "--config.file="+config, "--storage.path="+t.TempDir(),
		"--web.listen-address=127.0.0.1:"+port, "--cluster.listen-address=")
	url := "http://127.0.0.1:" + port
	eventually(t, 20*time.Second, "Alertmanager is ready", func() (bool, string) {
		status, text := get(url + "/-/ready")
		return status == http.StatusOK, text
	})
	return url
}

// startServe watches the shop through its own Compose file, with one more that publishes the ports in use.
// An hour passes in a minute.
func startServe(t *testing.T, ports map[string]string, pages string) (*process, string, string) {
	world := t.TempDir()
	if err := os.CopyFS(world, fixtures.Shop()); err != nil {
		t.Fatal(err)
	}
	override := "services:\n"
	for service, port := range ports {
		container := map[string]string{"api": "4001", "search": "4002", "analytics": "4003", "billing": "4004"}[service]
		override += fmt.Sprintf("  %s:\n    ports: !override [\"127.0.0.1:%s:%s\"]\n", service, port, container)
	}
	if err := os.WriteFile(filepath.Join(world, "compose.override.yaml"), []byte(override), 0o600); err != nil {
		t.Fatal(err)
	}
	listen, data := "127.0.0.1:"+freePort(t), filepath.Join(t.TempDir(), "data")
	p := start(t, nil, "slowburn", "serve", world, "--listen", listen, "--data-dir", data, "--alertmanager", pages,
		"--window-scale", "0.016666666666666666", "--scrape-interval", "1s", "--evaluation-interval", "1s", "--resend-delay", "5s")
	address := "http://" + listen
	eventually(t, 20*time.Second, "slowburn is ready", func() (bool, string) {
		status, text := get(address + "/-/ready")
		return status == http.StatusOK, text
	})
	return p, address, data
}

// startLoad asks every service for every tenant about ten times a second, until the test ends. What it
// returns ends the load and tells how many requests were sent.
func startLoad(t *testing.T, ports map[string]string) (stop func() int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	var sent atomic.Int64
	var wg sync.WaitGroup
	for service, path := range asks {
		for _, tenant := range []string{"acme", "globex", "initech"} {
			url := "http://127.0.0.1:" + ports[service] + path
			wg.Go(func() { // ends with ctx
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
						request(http.MethodGet, url, "", map[string]string{"x-tenant-id": tenant})
						sent.Add(1)
					}
				}
			})
		}
	}
	stop = sync.OnceValue(func() int64 { cancel(); wg.Wait(); return sent.Load() })
	t.Cleanup(func() { stop() })
	return stop
}

// page is an alert as Alertmanager's API shows it.
type page struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Generator   string            `json:"generatorURL"`
}

// alertsAt gives the active alerts by tier.
func alertsAt(t *testing.T, url string) map[string]page {
	t.Helper()
	status, text := get(url + "/api/v2/alerts?active=true")
	var list []page
	if err := json.Unmarshal([]byte(text), &list); status != http.StatusOK || err != nil {
		t.Fatalf("ask Alertmanager: %d %s", status, text)
	}
	byTier := map[string]page{}
	for _, p := range list {
		byTier[p.Labels["burn_tier"]] = p
	}
	return byTier
}

func checkPage(t *testing.T, p page) {
	t.Helper()
	want := map[string]string{"alertname": "ErrorBudgetBurn", "service": "search", "slo": "availability",
		"tenant": "acme", "burn_tier": "fast", "severity": "page"}
	for name, value := range want {
		if p.Labels[name] != value {
			t.Errorf("label %s is %q, want %q", name, p.Labels[name], value)
		}
	}
	if len(p.Labels) != len(want) {
		t.Errorf("labels %v, want %v", p.Labels, want)
	}
	for _, part := range []string{"search availability for tenant acme burns its error budget", "times too fast", "% of the 12h budget went in the last 1m"} {
		if !strings.Contains(p.Annotations["summary"], part) {
			t.Errorf("summary %q lacks %q", p.Annotations["summary"], part)
		}
	}
	if !strings.HasPrefix(p.Annotations["slo_source"], "services/search/src/search.ts:") {
		t.Errorf("slo_source %q", p.Annotations["slo_source"])
	}
	t.Logf("the page says: %s", p.Annotations["summary"])
}

// checkAPI asks as Prometheus's clients do.
func checkAPI(t *testing.T, address string) {
	t.Helper()
	for path, want := range map[string]string{
		"/api/v1/query?query=ALERTS":             `"alertstate":"firing"`,
		"/api/v1/rules":                          `"name":"search/availability"`,
		"/api/v1/targets":                        `"health":"up"`,
		"/api/v1/alertmanagers":                  `"activeAlertmanagers":[{`,
		"/api/v1/label/tenant/values":            `"initech"`,
		"/-/healthy":                             "healthy",
		"/":                                      "ErrorBudgetBurn",
		"/api/v1/query?query=sum_over_time(up[)": `"errorType":"bad_data"`,
		"/api/v1/query?query=sum_over_time({__name__=~%22.%2B%22}[1y:1ms])": "steps, more than",
	} {
		if _, text := get(address + path); !strings.Contains(text, want) {
			t.Errorf("%s lacks %s: %.300s", path, want, text)
		}
	}
}

// checkReopens opens the database that serve left: nothing may need repair.
func checkReopens(t *testing.T, data string) {
	t.Helper()
	db, err := tsdb.Open(data, tsdb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, _, ok := db.Extent(); !ok {
		t.Error("the database is empty")
	}
	if damaged, err := filepath.Glob(filepath.Join(data, "*.damaged*")); err != nil || len(damaged) > 0 {
		t.Errorf("the database needed repair: %v %v", damaged, err)
	}
}

func grep(text, word string) string {
	var hits []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			hits = append(hits, strings.TrimSpace(line))
		}
	}
	return strings.Join(hits, "; ")
}
