package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// paths are all kinds of what serve answers.
func paths() []string {
	return []string{
		"/", "/metrics", "/-/healthy", "/-/ready", "/-/reload", "/style.css", "/api/v1/query?query=up", "/api/v1/status/config", "/api/v1/status/flags",
		"/api/v1/alerts", "/api/v1/rules", "/api/v1/targets", "/api/v1/alertmanagers", "/api/v1/slowburn/verdicts", "/api/v1/status/runtimeinfo",
		"/api/v1/write", "/debug/pprof/", "/debug/pprof/cmdline", "/nothing", "/api/v1/nothing",
	}
}

// authority signs certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, self, self, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	self.Raw = der
	return authority{self, key}
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// issue writes a certificate for this machine and its key.
func (a authority) issue(t *testing.T, certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})))
}

// TestWebConfigurationHoldsForEveryPath asks every path without and with what TLS, a client certificate and basic
// authentication demand.
func TestWebConfigurationHoldsForEveryPath(t *testing.T) {
	ca, folder := newAuthority(t), t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	write(t, in("ca.pem"), string(ca.pem()))
	ca.issue(t, in("server.pem"), in("server.key"))
	ca.issue(t, in("client.pem"), in("client.key"))
	hash, err := bcrypt.GenerateFromPassword([]byte("swordfish"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write(t, in("web.yml"), "tls_server_config: {cert_file: server.pem, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}\nbasic_auth_users: {ops: '"+string(hash)+"'}\n")
	_, args, address := watched(t, "")
	p := start(t, nil, "slowburn", append(args, "--web-config", in("web.yml"), "--pprof")...)
	address = strings.Replace(address, "http://", "https://", 1)

	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(ca.cert.Raw))(t))
	own := must(tls.LoadX509KeyPair(in("client.pem"), in("client.key")))(t)
	client := func(change func(*tls.Config)) *http.Client {
		cfg := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}
		change(cfg)
		return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
	}
	ask := func(c *http.Client, path, password string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			req.SetBasicAuth("ops", password)
		}
		resp, err := c.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	known := client(func(*tls.Config) {})
	eventually(t, 30*time.Second, "ready, for who may ask", func() (bool, string) {
		status, text := ask(known, "/-/ready", "swordfish")
		return status == http.StatusOK, text
	})
	for _, path := range paths() {
		if status, text := ask(known, path, ""); status != http.StatusUnauthorized || strings.Contains(text, "slowburn_") {
			t.Errorf("%s without a password: %d %.100s", path, status, text)
		}
		if status, _ := ask(known, path, "sardine"); status != http.StatusUnauthorized {
			t.Errorf("%s with a wrong password: %d", path, status)
		}
		if status, text := ask(known, path, "swordfish"); status == 0 || status == http.StatusUnauthorized || status >= 500 {
			t.Errorf("%s with the password: %d %.100s", path, status, text)
		}
	}
	if status, _ := ask(known, "/debug/pprof/cmdline", "swordfish"); status != http.StatusOK {
		t.Errorf("profiles were asked for: %d", status)
	}
	for what, c := range map[string]*http.Client{
		"no client certificate": client(func(c *tls.Config) { c.Certificates = nil }),
		"TLS 1.1":               client(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), //nolint:gosec // it must be refused
	} {
		if status, text := ask(c, "/-/healthy", "swordfish"); status != 0 {
			t.Errorf("%s: %d %s", what, status, text)
		}
	}
	if status, _ := get(strings.Replace(address, "https", "http", 1) + "/metrics"); status != http.StatusBadRequest {
		t.Errorf("without TLS: %d", status)
	}
	write(t, in("web.yml"), "tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
	eventually(t, 10*time.Second, "the web configuration is read again", func() (bool, string) {
		status, text := ask(client(func(c *tls.Config) { c.Certificates = nil }), "/-/healthy", "")
		return status == http.StatusOK, text
	})
	if status, _ := p.terminate(10 * time.Second); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestSecretsStayWhereTheyAre puts a canary into everything that may hold a secret, and looks for it in all that serve shows.
func TestSecretsStayWhereTheyAre(t *testing.T) {
	const canary = "canary-c0ffee"
	dir, args, address := watched(t, "")
	closed := "127.0.0.1:" + freePort(t)
	write(t, filepath.Join(dir, "token"), canary)
	write(t, filepath.Join(dir, "scrape.yml"), `scrape_configs:
- {job_name: basic, scrape_interval: 1s, scrape_timeout: 1s, basic_auth: {username: u, password: `+canary+`}, static_configs: [{targets: ['`+closed+`']}]}
- {job_name: bearer, scrape_interval: 1s, scrape_timeout: 1s, authorization: {credentials: `+canary+`}, static_configs: [{targets: ['`+closed+`']}]}
- {job_name: file, scrape_interval: 1s, scrape_timeout: 1s, authorization: {credentials_file: token}, static_configs: [{targets: ['`+closed+`']}]}
- {job_name: oauth, scrape_interval: 1s, scrape_timeout: 1s, oauth2: {client_id: c, client_secret: `+canary+`, token_url: 'http://`+closed+`/token'}, static_configs: [{targets: ['`+closed+`']}]}
- {job_name: headers, scrape_interval: 1s, scrape_timeout: 1s, http_headers: {X-Key: {secrets: [`+canary+`]}}, static_configs: [{targets: ['`+closed+`']}]}
- {job_name: proxy, scrape_interval: 1s, scrape_timeout: 1s, proxy_url: 'http://u:`+canary+`@`+closed+`', static_configs: [{targets: ['`+closed+`']}]}
`)
	write(t, filepath.Join(dir, "alerting.yml"), "alerting: {alertmanagers: [{authorization: {credentials: "+canary+"}, static_configs: [{targets: ['"+closed+"']}]}]}\n")
	write(t, filepath.Join(dir, "remote.yml"), "remote_write: [{url: 'http://u:"+canary+"@"+closed+"/api/v1/write', name: r}, {url: 'http://"+closed+"/b', basic_auth: {username: u, password: "+canary+"}}]\n")
	p := start(t, []string{"SECRET_IN_ENV=" + canary}, "slowburn", append(args, "--log-level", "debug",
		"--alertmanager", "http://u:"+canary+"@"+closed+"/am", "--alertmanager-config", filepath.Join(dir, "alerting.yml"), "--remote-write-config", filepath.Join(dir, "remote.yml"))...)
	eventually(t, 30*time.Second, "all targets have been tried", func() (bool, string) {
		_, text := get(address + "/api/v1/targets")
		return strings.Count(text, `"health":"down"`) == 6, text
	})
	eventually(t, 20*time.Second, "remote_write has been tried", func() (bool, string) {
		return strings.Contains(p.output(), "component=remote"), p.output()
	})
	for _, path := range paths() {
		if _, text := get(address + path); strings.Contains(text, canary) {
			t.Errorf("%s shows the secret: %s", path, grep(text, canary))
		}
	}
	if status, text := request(http.MethodPost, address+"/-/reload", "", nil); status != http.StatusOK || strings.Contains(text, canary) {
		t.Errorf("reload: %d %s", status, text)
	}
	if status, _ := get(address + "/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("profiles without being asked for: %d", status)
	}
	if status, took := p.terminate(15 * time.Second); status != 0 || took > 8*time.Second {
		t.Errorf("SIGTERM with two dead receivers: exit status %d after %s", status, took)
	}
	if log := p.output(); strings.Contains(log, canary) {
		t.Errorf("the log shows the secret: %s", grep(log, canary))
	}
}

// TestWatchFollowsTheSources changes a contract under --watch, first for the worse and then for the better.
func TestWatchFollowsTheSources(t *testing.T) {
	dir, args, address := watched(t, "")
	extra := filepath.Join(dir, "extra")
	if err := os.Mkdir(extra, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(extra, "a.rules.yml"), "groups: [{name: own, interval: 1s, rules: [{alert: Mine, expr: 'vector(1)'}]}]\n")
	start(t, nil, "slowburn", append(args, "--watch", "--rule-file", filepath.Join(extra, "*.rules.yml"))...)
	var since string
	eventually(t, 20*time.Second, "the rule file's alert fires", func() (bool, string) {
		_, text := get(address + "/api/v1/alerts")
		_, since, _ = strings.Cut(text, `"activeAt":"`)
		return strings.Contains(text, `"state":"firing"`), text
	})
	write(t, filepath.Join(dir, "svc.ts"), strings.Replace(sound, "99.5%", "150%", 1))
	eventually(t, 20*time.Second, "a bad contract is told of", func() (bool, string) {
		_, text := get(address + "/metrics")
		return strings.Contains(text, "slowburn_config_last_reload_successful 0") && strings.Contains(text, `slowburn_objective_ratio{service="svc",slo="availability"} 0.995`), grep(text, "last_reload")
	})
	write(t, filepath.Join(dir, "svc.ts"), strings.Replace(sound, "99.5%", "99%", 1))
	write(t, filepath.Join(extra, "b.rules.yml"), "groups: [{name: more, rules: [{record: 'more:more', expr: 'vector(1)'}]}]\n")
	eventually(t, 20*time.Second, "a good contract is in force", func() (bool, string) {
		_, text := get(address + "/metrics")
		return strings.Contains(text, "slowburn_config_last_reload_successful 1") && strings.Contains(text, `slowburn_objective_ratio{service="svc",slo="availability"} 0.99`+"\n"), grep(text, "objective")
	})
	if _, text := get(address + "/api/v1/rules"); !strings.Contains(text, "more:more") {
		t.Errorf("the new rule file is not evaluated: %.300s", text)
	}
	if _, text := get(address + "/api/v1/alerts"); !strings.Contains(text, since[:19]) {
		t.Errorf("the alert of a rule that did not change began anew: %s, was since %.30s", text, since)
	}
}
