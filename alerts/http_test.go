package alerts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/api/v2/models"
	promconfig "github.com/prometheus/common/config"
)

func one() models.PostableAlerts {
	return postable([]item{{Labels: map[string]string{"alertname": "A"}, Starts: time.Unix(1, 0), Ends: time.Unix(2, 0)}})
}

func TestWhatIsPosted(t *testing.T) {
	var path, user, password, body string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		path = r.Method + " " + r.URL.Path
		user, password, _ = r.BasicAuth()
		content, _ := io.ReadAll(r.Body)
		body = string(content)
	}))
	defer server.Close()
	post, err := connect(Endpoint{URL: strings.Replace(server.URL, "http://", "http://user:hunter2@", 1) + "/prefix/"})
	if err != nil {
		t.Fatal(err)
	}
	if err := post(t.Context(), one()); err != nil {
		t.Fatal(err)
	}
	if path != "POST /prefix/api/v2/alerts" || user != "user" || password != "hunter2" {
		t.Errorf("%s as %s:%s", path, user, password)
	}
	var got []map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got) != 1 || got[0]["startsAt"] != "1970-01-01T00:00:01.000Z" {
		t.Errorf("%s %v", body, err)
	}
}

func TestAnswers(t *testing.T) {
	for _, row := range []struct {
		status  int
		body    string
		refused bool
		want    string
	}{
		{200, "", false, ""},
		{202, "", false, ""},
		{400, `"invalid label name"`, true, "refused: invalid label name"},
		{400, "<html>", true, "refused: <html>"},
		{503, "<html>", false, "status 503"},
		{500, "<html>", false, "status 500: <html>"},
		{404, "nothing here", false, "status 404 Not Found"},
		{413, "", true, "Request Entity Too Large"},
		{401, "", false, "status 401 Unauthorized"},
		{500, `"down"`, false, "status 500: down"},
		{503, "", false, "status 503 Service Unavailable"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(row.status)
			io.WriteString(w, row.body)
		}))
		post, err := connect(Endpoint{URL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		err = post(t.Context(), one())
		var refused *ErrRefused
		if (err != nil) != (row.status >= 300) || errors.As(err, &refused) != row.refused {
			t.Errorf("%d: %v", row.status, err)
		}
		if err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%d: %v, want %s", row.status, err, row.want)
		}
		server.Close()
	}
}

func TestConnectionsThatFail(t *testing.T) {
	closing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			c.Close()
		}
	}))
	defer closing.Close()
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer hanging.Close()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	for address, want := range map[string]string{
		closing.URL:                        "EOF",
		hanging.URL:                        "deadline exceeded",
		"http://" + nobody.Addr().String(): "refused",
	} {
		post, err := connect(Endpoint{URL: strings.Replace(address, "http://", "http://user:hunter2@", 1)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err = post(ctx, one())
		cancel()
		var refused *ErrRefused
		if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
}

// certificate writes a certificate for 127.0.0.1, signed by itself, and its key.
func certificate(t *testing.T, dir, name string, change func(*x509.Certificate)) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	err = errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

// E18: what is wrong with TLS is said, and the file's change mends it without a restart.
func TestTLS(t *testing.T) {
	for _, row := range []struct {
		what, want string
		server     func(*x509.Certificate)
		wrongCA    bool
		wantClient bool
	}{
		{"wrong CA", "certificate signed by unknown authority", func(*x509.Certificate) {}, true, false},
		{"expired", "certificate has expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, false, false},
		{"wrong name", "doesn't contain any IP SANs", func(c *x509.Certificate) { c.IPAddresses = nil }, false, false},
		{"client certificate missing", "certificate required", func(*x509.Certificate) {}, false, true},
	} {
		t.Run(row.what, func(t *testing.T) {
			dir := t.TempDir()
			serverCert, serverKey := certificate(t, dir, "server", row.server)
			other, _ := certificate(t, dir, "other", func(*x509.Certificate) {})
			ca := filepath.Join(dir, "ca.pem")
			copyTo(t, serverCert, ca)
			cfg := promconfig.HTTPClientConfig{TLSConfig: promconfig.TLSConfig{CAFile: ca}}
			if row.wrongCA {
				copyTo(t, other, ca)
			}
			address := tlsServer(t, serverCert, serverKey, row.wantClient)
			post, err := connect(Endpoint{URL: address, HTTP: cfg})
			if err != nil {
				t.Fatal(err)
			}
			if err := post(t.Context(), one()); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("%v, want %s", err, row.want)
			}
			if !row.wrongCA {
				return // the other side must mend it
			}
			copyTo(t, serverCert, ca)
			if err := post(t.Context(), one()); err != nil {
				t.Errorf("after the CA file was mended: %v", err)
			}
		})
	}
	if _, err := New(Config{Endpoints: []Endpoint{{URL: "https://am", HTTP: promconfig.HTTPClientConfig{TLSConfig: promconfig.TLSConfig{CAFile: "no-such.pem"}}}}}, Options{}); err == nil ||
		!strings.Contains(err.Error(), "no-such.pem") || !strings.Contains(err.Error(), "alertmanager https://am") {
		t.Errorf("no CA file: %v", err)
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func tlsServer(t *testing.T, cert, key string, wantClient bool) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = serverTLS(t, cert, key, wantClient)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func serverTLS(t *testing.T, cert, key string, wantClient bool) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if wantClient {
		c.ClientAuth = tls.RequireAnyClientCert
	}
	return c
}
