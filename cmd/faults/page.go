package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func pageFaults() []experiment {
	return []experiment{
		{id: "E46", fault: "names that are scripts, in a real browser", criterion: "no script runs on any page, none of it is allowed to, no javascript: link", trials: 3, short: 1, limit: 8 * time.Minute, try: scripted},
		{id: "E50", fault: "secrets in everything that may hold one", criterion: "none in API, page, metrics, debug log, panic dump or alerts", trials: 1, short: 1, try: canaries},
	}
}

// payload runs a script wherever it is taken for HTML, for an attribute or for a link.
const payload = `"'></code></script><img src=x onerror=window.__xss=1><script>window.__xss=1</script><a href="javascript:window.__xss=1">x</a>`

// pages are what a browser may be led to.
func pages() []string {
	return []string{
		"/", "/metrics", "/-/ready", "/style.css", "/api/v1/targets", "/api/v1/rules", "/api/v1/alerts", "/api/v1/status/config", "/api/v1/slowburn/verdicts",
		"/api/v1/query?query=" + url.QueryEscape(`{job="bad"}`), "/api/v1/query?query=" + url.QueryEscape(payload), "/api/v1/metadata", "/nothing/" + url.PathEscape(payload),
		"/federate?match[]=" + url.QueryEscape(payload), "/graph?g0.expr=" + url.QueryEscape(payload), "/?" + url.QueryEscape(payload),
	}
}

// scripted gives scripts for names of alerts, labels, tenants, jobs and metrics, and opens every page in Chromium.
func scripted(ctx context.Context, t *trial) error {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		return skip("needs Chromium: install the Debian package chromium")
	}
	s, r := t.serve(), t.receive()
	s.set(payload, true)
	rules := brokenRules + fmt.Sprintf("  - alert: Evil\n    expr: hostile > 0\n    labels: {evil: %[1]q}\n    annotations: {summary: %[1]q, runbook_url: 'javascript:window.__xss=1'}\n", payload)
	hostile := s.bad("hostile")
	hostile.name = fmt.Sprintf("%q", `bad<img src=x onerror=window.__xss=1>`)
	m, err := t.watch(ctx, world{targets: []job{s.good(), hostile}, rules: rules, alertmanagers: []string{r.URL}})
	if err == nil {
		err = m.ready(ctx, 10*time.Second)
	}
	if err == nil {
		_, err = until(ctx, 15*time.Second, "the alert on the page", func() (bool, string) {
			_, page := m.get(ctx, "/")
			return strings.Contains(page, "Evil") && strings.Contains(page, "onerror"), page
		})
	}
	if err != nil {
		return err
	}
	var faults []error
	for _, path := range pages() {
		faults = append(faults, m.opened(ctx, browser, path))
	}
	_, page := m.get(ctx, "/")
	if link := strings.ToLower(page); strings.Contains(link, `<a href="javascript:`) {
		faults = append(faults, errors.New("the status page has a javascript: link"))
	}
	faults = append(faults, t.wouldRun(ctx, browser))
	return errors.Join(faults...)
}

// opened renders a page, and looks at the document that became of it. Escaped names are text there.
func (m *watchman) opened(ctx context.Context, browser, path string) error {
	header, err := m.headers(ctx, path)
	if err != nil {
		return err
	}
	var faults []error
	if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe-inline") {
		faults = append(faults, fmt.Errorf("%.60s: Content-Security-Policy %q", path, policy))
	}
	if header.Get("X-Content-Type-Options") != "nosniff" {
		faults = append(faults, fmt.Errorf("%.60s: a browser may guess its type", path))
	}
	dom, err := m.t.rendered(ctx, browser, m.base+path)
	if err != nil {
		return errors.Join(append(faults, fmt.Errorf("%.60s: %w", path, err))...)
	}
	m.t.note("pages", m.t.figures["pages"]+1)
	if i := slices.IndexFunc([]string{"<img", "<script", `<a href="javascript:`}, func(tag string) bool { return strings.Contains(strings.ToLower(dom), tag) }); i >= 0 {
		faults = append(faults, fmt.Errorf("%.60s: a name became an element: %.400s", path, dom))
	}
	return errors.Join(faults...)
}

func (m *watchman) headers(ctx context.Context, path string) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	return resp.Header, resp.Body.Close()
}

// rendered is the document that Chromium makes of a page, as HTML.
func (t *trial) rendered(ctx context.Context, browser, page string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", //nolint:gosec // looked up by its name
		"--user-data-dir="+filepath.Join(t.dir, "chromium"), "--virtual-time-budget=2000", "--dump-dom", page)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("chromium: %w", err)
	}
	return string(out), nil
}

// wouldRun shows that this browser runs such scripts where nobody escapes them, so that silence means something.
func (t *trial) wouldRun(ctx context.Context, browser string) error {
	path, err := t.write("control.html", "<!doctype html><body>"+payload+"<script>document.title='ran '+window.__xss</script>")
	if err != nil {
		return err
	}
	dom, err := t.rendered(ctx, browser, "file://"+path)
	if err != nil {
		return err
	}
	if t.hit = strings.Contains(dom, "<title>ran 1</title>"); !t.hit {
		return fmt.Errorf("the page without escapes does not run its script: %.300s", dom)
	}
	return nil
}

// canaries gives serve a secret in every place for one, makes it fail at each, and ends it by a dump of all goroutines.
func canaries(ctx context.Context, t *trial) error {
	const canary = "canary-c0ffee"
	s, r := t.serve(), t.receive()
	s.set("a", true)
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: brokenRules, alertmanagers: []string{strings.Replace(r.URL, "http://", "http://u:"+canary+"@", 1)}, args: []string{"--log-level", "debug"}})
	if err != nil {
		return err
	}
	m.kill()
	closed, err := freePort()
	if err != nil {
		return err
	}
	if err := t.writeSecrets(s, canary, "127.0.0.1:"+closed); err != nil {
		return err
	}
	m.args = append(m.args, "--alertmanager-config", filepath.Join(t.dir, "alerting.yml"), "--remote-write-config", filepath.Join(t.dir, "remote.yml"))
	if err := m.startReady(ctx, 10*time.Second); err != nil {
		return err
	}
	if _, err := until(ctx, 30*time.Second, "all secrets used", func() (bool, string) {
		_, targets := m.get(ctx, "/api/v1/targets")
		return strings.Count(targets, `"health":"down"`) == 5 && r.firing("a") && strings.Contains(m.log.String(), "component=remote"), targets
	}); err != nil {
		return err
	}
	t.hit = true
	var faults []error
	for _, path := range append(pages(), "/api/v1/status/flags", "/api/v1/alertmanagers", "/api/v1/status/runtimeinfo", "/api/v1/series?match[]=up", "/api/v1/query?query=up", "/api/v1/scrape_pools", "/debug/pprof/cmdline") {
		if _, body := m.get(ctx, path); strings.Contains(body, canary) {
			faults = append(faults, fmt.Errorf("%.60s shows a secret", path))
		}
	}
	for _, d := range r.of("a") {
		if strings.Contains(fmt.Sprint(d), canary) {
			faults = append(faults, errors.New("an alert shows a secret"))
		}
	}
	if log := m.log.String(); strings.Contains(log, canary) {
		_, after, _ := strings.Cut(log, canary)
		faults = append(faults, fmt.Errorf("the log shows a secret, before %.100q", after))
	}
	return errors.Join(append(faults, m.dumped(canary))...)
}

// dumped ends the process by SIGQUIT, on which Go's runtime writes down all goroutines, and looks for a secret there.
func (m *watchman) dumped(canary string) error {
	if err := m.signal(syscall.SIGQUIT); err != nil {
		return err
	}
	select {
	case <-m.done:
	case <-time.After(patience):
		return errors.New("the process outlives SIGQUIT")
	}
	switch log := m.log.String(); {
	case !strings.Contains(log, "goroutine "):
		return errors.New("SIGQUIT made no dump")
	case strings.Contains(log, canary):
		return errors.New("the dump shows a secret")
	}
	return nil
}

// writeSecrets writes configurations whose secrets are all the canary.
func (t *trial) writeSecrets(s *target, canary, closed string) error {
	one := func(name, auth string) string {
		return fmt.Sprintf("- {job_name: %s, scrape_interval: 1s, scrape_timeout: 1s, %s, static_configs: [{targets: ['%s']}]}\n", name, auth, closed)
	}
	var faults []error
	for name, text := range map[string]string{
		"scrape.yml": scrapeConfig([]job{s.good()}) +
			one("basic", "basic_auth: {username: u, password: "+canary+"}") + one("bearer", "authorization: {credentials: "+canary+"}") +
			one("oauth", "oauth2: {client_id: c, client_secret: "+canary+", token_url: 'http://"+closed+"/token'}") +
			one("headers", "http_headers: {X-Key: {secrets: ["+canary+"]}}") + one("proxy", "proxy_url: 'http://u:"+canary+"@"+closed+"'"),
		"alerting.yml": "alerting: {alertmanagers: [{basic_auth: {username: u, password: " + canary + "}, static_configs: [{targets: ['" + closed + "']}]}]}\n",
		"remote.yml":   "remote_write: [{url: 'http://u:" + canary + "@" + closed + "/w', name: r}, {url: 'http://" + closed + "/b', authorization: {credentials: " + canary + "}}]\n",
	} {
		_, err := t.write(name, text)
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}
