package drift

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// freeAddress is an address on which nobody listens: it was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// started runs an installed program until the test ends, and waits until it is ready.
func started(t *testing.T, ready string, args []string, names ...string) {
	t.Helper()
	program := ""
	for _, name := range names {
		if found, err := exec.LookPath(name); err == nil && program == "" {
			program = found
		}
	}
	if program == "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", names[0])
		}
		t.Skipf("%s is not installed", names[0])
	}
	var log strings.Builder
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the test's context, which kills the program
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(30 * time.Second)
	for {
		if resp, err := http.Get(ready); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-deadline:
			cmd.Process.Kill()
			<-ended
			ended <- nil
			t.Fatalf("%s is not ready:\n%s", program, log.String())
		case <-ticker.C:
		}
	}
}

// exporterOf serves metrics as @slowburn/instrument writes them.
func exporterOf(t *testing.T, target string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "# TYPE error_budget_objective_ratio gauge\nerror_budget_objective_ratio{slo=\"availability\"} %s\nerror_budget_events_total{slo=\"availability\",tenant=\"a\",outcome=\"good\"} 1\n", target)
	}))
	t.Cleanup(s.Close)
	return s
}

// prometheusWith runs Debian's Prometheus with rules, scraping one exporter as the service api.
func prometheusWith(t *testing.T, rules, exporter string, args ...string) string {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	config := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ["127.0.0.1:1"]}]}]}
scrape_configs: [{job_name: shop, scrape_timeout: 1s, static_configs: [{targets: ["%s"], labels: {service: api}}]}]
`, strings.TrimPrefix(exporter, "http://"))
	for name, text := range map[string]string{"prometheus.yml": config, "rules.yml": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	started(t, "http://"+address+"/-/ready", append([]string{
		"--config.file=" + filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address, "--log.level=error",
	}, args...), "prometheus")
	return "http://" + address
}

// settled asks until the target has been scraped.
func settled(t *testing.T, c Contract, url string) Report {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for {
		r := PrometheusAt(t.Context(), c, Endpoint{URL: url})
		waits := slices.ContainsFunc(r.Facts, func(f Fact) bool {
			return f.Subject == "target" && f.Verdict != Same || f.Subject == "objective of the running code" && f.Verdict == Missing
		})
		running := slices.ContainsFunc(r.Facts, func(f Fact) bool { return f.Subject == "objective of the running code" })
		if !waits && running {
			return r
		}
		select {
		case <-deadline:
			t.Fatalf("never scraped:\n%s", facts(r))
		case <-ticker.C:
		}
	}
}

func TestRunningPrometheus(t *testing.T) {
	c := availability(t)
	exporter := exporterOf(t, "0.995")
	c.Services[0].Targets = []string{exporter.URL + "/metrics"}
	r := settled(t, c, prometheusWith(t, availabilityRules(t), exporter.URL, "--storage.tsdb.retention.time=40d"))
	if drifting, compared := r.Share(); drifting != 0 || compared != 17 || len(r.Findings) != 0 {
		t.Errorf("%d of %d drift:\n%s", drifting, compared, facts(r))
	}
}

func TestRunningPrometheusThatDrifts(t *testing.T) {
	c := availability(t)
	exporter := exporterOf(t, "0.99")
	c.Services[0].Targets = []string{exporter.URL + "/metrics"}
	url := prometheusWith(t, strings.ReplaceAll(availabilityRules(t), "> 14.4", "> 10"), exporter.URL)
	got := strings.Join(notSame(settled(t, c, strings.Replace(url, "://", "://me:secret@", 1))), "\n")
	for _, want := range []string{
		"differs: api/availability alert of the fast tier; want burn rate 14.4x over 1h and 5m (7.2% of events failing, 2% of the 30d budget in 1h), 5 failures in 1h at least, severity page; got burn rate 10x",
		"differs: / retention; want at least 30d, the window of api/availability; got 15d, since no flag says otherwise @ " + url + "/api/v1/status/flags",
		"differs: api/availability objective of the running code; want 99.5%; got 99% @ " + url,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant %s", got, want)
		}
	}
	if strings.Count(got, "\n") != 2 || strings.Contains(got, "secret") {
		t.Errorf("got\n%s", got)
	}
}

func TestRunningAlertmanager(t *testing.T) {
	dir, address := t.TempDir(), freeAddress(t)
	file := filepath.Join(dir, "alertmanager.yml")
	if err := os.WriteFile(file, []byte(soundAlertmanager), 0o600); err != nil {
		t.Fatal(err)
	}
	started(t, "http://"+address+"/-/ready", []string{"--config.file=" + file, "--storage.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address, "--cluster.listen-address=", "--log.level=error"}, "prometheus-alertmanager", "alertmanager")
	c := sreContract(t)
	live, routes := AlertmanagerAt(t.Context(), c, Endpoint{URL: "http://" + address}, Routing{})
	if drifting, compared := live.Share(); drifting != 0 || compared != 8 || len(live.Findings) != 0 {
		t.Errorf("%d of %d drift:\n%s", drifting, compared, facts(live))
	}
	_, fromFile := routed(t, soundAlertmanager, Routing{})
	for i := range routes {
		routes[i].Line, fromFile[i].Line = 0, 0 // it writes its configuration anew
	}
	if rows(routes) != rows(fromFile) {
		t.Errorf("got\n%swant\n%s", rows(routes), rows(fromFile))
	}
}

// What can't be asked is never the same, and says why.
func TestWhatCannotBeAsked(t *testing.T) {
	serve := func(f http.HandlerFunc) string {
		s := httptest.NewServer(f)
		t.Cleanup(s.Close)
		return s.URL
	}
	down := httptest.NewServer(nil)
	down.Close()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for name, test := range map[string]struct{ url, want string }{
		"down":    {down.URL, "connection refused"},
		"nothing": {"", "write http://host:port"},
		"no URL":  {"http://%zz", "write http://host:port"},
		"HTML": {serve(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<!doctype html><title>Login</title>") }),
			"a page in HTML"},
		"an error":  {serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }), "503"},
		"no JSON":   {serve(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }), "not the JSON"},
		"else JSON": {serve(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"hello": 1}`) }), "it is no"},
		"slow": {serve(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}), "in time"},
		"endless": {serve(func(w http.ResponseWriter, _ *http.Request) {
			for w, text := io.Writer(w), strings.Repeat("x", 1<<20); ; {
				if _, err := io.WriteString(w, text); err != nil {
					return
				}
			}
		}), "larger than 10 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			c := availability(t)
			c.Objectives[0].Indicator = slo.Availability{Errors: "x", Total: `error_budget_events_total{slo="availability"}`}
			c.Services[0].Targets = []string{test.url}
			patience := time.Minute // which nothing but the slow one needs
			if name == "slow" {
				patience = 300 * time.Millisecond
			}
			e := Endpoint{URL: test.url, Client: &http.Client{Timeout: patience}}
			am, _ := AlertmanagerAt(t.Context(), c, e, Routing{})
			for what, r := range map[string]Report{"Prometheus": PrometheusAt(t.Context(), c, e), "Alertmanager": am} {
				if _, compared := r.Share(); compared != 0 || len(r.Facts) < 2 || len(r.Findings) == 0 || !strings.Contains(facts(r), test.want) {
					t.Errorf("%s, %d compared:\n%s", what, compared, facts(r))
				}
			}
		})
	}
}

func TestExporters(t *testing.T) {
	down := httptest.NewServer(nil)
	down.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") }))
	t.Cleanup(other.Close)
	library := slo.Availability{Total: `error_budget_events_total{slo="availability"}`}
	for name, test := range map[string]struct {
		targets   []string
		indicator slo.Indicator
		want      []string
	}{
		"the same":             {[]string{exporterOf(t, "0.995").URL}, nil, []string{""}},
		"in floats":            {[]string{exporterOf(t, "0.99500000000000002").URL}, nil, []string{""}},
		"another":              {[]string{exporterOf(t, "0.999").URL + "/metrics"}, nil, []string{"differs: api/availability objective of the running code; want 99.5%; got 99.9% @ http://"}},
		"one answers":          {[]string{down.URL, exporterOf(t, "0.995").URL}, nil, []string{""}},
		"without the library":  {[]string{other.URL}, nil, []string{""}},
		"the library is old":   {[]string{other.URL}, library, []string{"missing: api/availability objective of the running code"}},
		"no answer":            {[]string{down.URL}, nil, []string{"differs: api/ metrics; want an answer; got no answer: http://"}},
		"no answer, but it is": {[]string{strings.TrimPrefix(down.URL, "http://")}, library, []string{"differs: api/ metrics", "unchecked: api/availability objective"}},
		"no target":            {nil, nil, []string{"unchecked: api/ metrics"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := availability(t)
			c.Services[0].Targets = test.targets
			if test.indicator != nil {
				c.Objectives[0].Indicator = test.indicator
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			got := notSame(Exporters(ctx, c, nil))
			if len(got) != len(test.want) {
				t.Fatalf("got\n%s", strings.Join(got, "\n"))
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) || want == "" && got[i] != "" {
					t.Errorf("got %s\nwant %s", got[i], want)
				}
			}
		})
	}
}
