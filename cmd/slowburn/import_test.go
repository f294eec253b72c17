package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHistoryOfAServer imports a history, has a real Prometheus serve it, and finds the same in both: by a back-test, and
// by importing it from there.
func TestHistoryOfAServer(t *testing.T) {
	prometheus := program(t, "install the Debian package prometheus", "prometheus")
	shop, err := filepath.Abs("../../fixtures/shop")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text, data, again, config := filepath.Join(dir, "h.om"), filepath.Join(dir, "data"), filepath.Join(dir, "again"), filepath.Join(dir, "p.yml")
	var b strings.Builder
	for _, code := range []string{"200", "500"} {
		for n := range 12 * 60 {
			fmt.Fprintf(&b, "http_requests_total{service=\"api\",tenant=\"acme\",code=%q} %d %d\n", code, n*n/(1+len(code)), 1767571200+n*60)
		}
	}
	for path, content := range map[string]string{text: b.String() + "# EOF\n", config: ""} {
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	command := func(want int, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if got := execute(t.Context(), args, &stdout, &stderr); got != want {
			t.Fatalf("%s: exit status %d\n%s", strings.Join(args, " "), got, stderr.String())
		}
		return stdout.String()
	}
	if got := command(exitOK, "import", text, "--data-dir", data); !strings.Contains(got, "2 series, 1440 samples") {
		t.Fatal(got)
	}
	address := "127.0.0.1:" + freePort(t)
	start(t, nil, prometheus, "--config.file="+config, "--storage.tsdb.path="+data, "--web.listen-address="+address, "--storage.tsdb.retention.time=50y")
	eventually(t, 60*time.Second, "prometheus is ready", func() (bool, string) {
		status, text := get("http://" + address + "/-/ready")
		return status == http.StatusOK, text
	})
	span := []string{"--start", "1767571200", "--end", "1767614340"}
	for _, url := range []string{"http://" + address, "http://" + address + "/api/v1/read"} {
		got := command(exitOK, append([]string{"import", url, "--data-dir", again, "--match", "http_requests_total"}, span...)...)
		if !strings.Contains(got, "2 series, 1440 samples") {
			t.Error(got)
		}
		if _, err := os.Stat(filepath.Join(again, importCache)); err == nil {
			t.Error("what was fetched is still there")
		}
		local := command(exitFindings, "backtest", shop, "--history", text)
		remote := command(exitFindings, append([]string{"backtest", shop, "--history", url}, span...)...)
		if local != remote {
			t.Errorf("back-tests differ:\n%s\n%s", local, remote)
		}
	}
}
