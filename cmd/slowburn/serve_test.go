package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slowburn/slowburn/fixtures"
)

const sound = `/** @SLO availability target=99.5% errors=http_requests_total{code=~"5.."} total=http_requests_total tenantLabel=tenant */
export class Service {}
`

// lonely is a directory with one SLO, whose target and Alertmanager do not answer.
func lonely(t *testing.T) (dir string, args []string, address string) {
	dir = t.TempDir()
	closed := "127.0.0.1:" + freePort(t)
	for name, content := range map[string]string{
		"svc.ts":         sound,
		"package.json":   `{"name": "svc"}`,
		"prometheus.yml": "scrape_configs:\n- job_name: svc\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  static_configs: [{targets: ['" + closed + "']}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listen := "127.0.0.1:" + freePort(t)
	return dir, []string{"serve", dir, "--listen", listen, "--data-dir", filepath.Join(dir, "data"),
		"--scrape-config", filepath.Join(dir, "prometheus.yml"), "--alertmanager", "http://" + closed, "--evaluation-interval", "1s"}, "http://" + listen
}

func TestServeLivesWithWhatComesAndGoes(t *testing.T) {
	dir, args, address := lonely(t)
	p := start(t, nil, "slowburn", args...)
	eventually(t, 20*time.Second, "ready without target and Alertmanager", func() (bool, string) {
		status, text := get(address + "/-/ready")
		return status == http.StatusOK, text
	})
	eventually(t, 20*time.Second, "the target is told to be down, and why", func() (bool, string) {
		_, text := get(address + "/api/v1/targets")
		return strings.Contains(text, `"health":"down"`) && strings.Contains(text, "connection refused"), text
	})

	t.Run("a data directory in use", func(t *testing.T) {
		second := []string{"serve", dir, "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "data")}
		refused(t, second, filepath.Join(dir, "data"))
	})
	t.Run("a port taken", func(t *testing.T) {
		second := []string{"serve", dir, "--listen", strings.TrimPrefix(address, "http://"), "--data-dir", t.TempDir()}
		refused(t, second, "choose another address with --listen")
	})
	t.Run("a bad contract on reload leaves the old one", func(t *testing.T) {
		write(t, filepath.Join(dir, "svc.ts"), strings.Replace(sound, "99.5%", "150%", 1))
		if status, text := request(http.MethodPost, address+"/-/reload", "", nil); status != http.StatusInternalServerError || !strings.Contains(text, "still in force") {
			t.Errorf("reload of a bad contract: %d %s", status, text)
		}
		if _, text := get(address + "/api/v1/rules"); !strings.Contains(text, "0.005") {
			t.Errorf("the old rules are gone: %.300s", text)
		}
	})
	t.Run("a good contract is taken on SIGHUP", func(t *testing.T) {
		write(t, filepath.Join(dir, "svc.ts"), strings.Replace(sound, "99.5%", "99%", 1))
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "the new objective on /metrics", func() (bool, string) {
			_, text := get(address + "/metrics")
			return strings.Contains(text, `slowburn_objective_ratio{service="svc",slo="availability"} 0.99`+"\n"), grep(text, "objective")
		})
	})
	if status, took := p.terminate(10 * time.Second); status != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: exit status %d after %s", status, took)
	}
}

// refused runs a command line that must end with status 2 and one line that holds want.
func refused(t *testing.T, args []string, want string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	status := execute(ctx, args, &out, &errs)
	lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
	if last := lines[len(lines)-1]; status != exitFailed || !strings.Contains(last, want) {
		t.Errorf("status %d, %q; want 2 and %q", status, last, want)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestServeLeavesNothingRunning runs the command in this process, so that what it leaves behind is seen.
func TestServeLeavesNothingRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	_, args, address := lonely(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var out, errs bytes.Buffer
	go func() { ended <- execute(ctx, args, &out, &errs) }() // ends when ctx is cancelled
	eventually(t, 20*time.Second, "ready", func() (bool, string) {
		status, text := get(address + "/-/ready")
		http.DefaultClient.CloseIdleConnections()
		return status == http.StatusOK, text
	})
	cancel()
	if status := <-ended; status != exitOK {
		t.Errorf("exit status %d:\n%s", status, errs.String())
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// TestDemoTellsTheWholeStory runs the demonstration to its end.
func TestDemoTellsTheWholeStory(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the demonstration takes a minute")
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var out, errs bytes.Buffer
	began := time.Now()
	if status := execute(t.Context(), []string{"demo"}, &out, &errs); status != exitOK {
		t.Fatalf("exit status %d after %s:\n%s\n%s", status, time.Since(began), out.String(), errs.String())
	}
	told := out.String()
	for _, chapter := range []string{"== contract", "6 declarations in 3 SLOs", "== rules", "12 burn-rate recordings", "== scrape",
		"== burn rates", "== incident", "pending", "FIRING", "burns its error budget", "== recovery", "resolved", "== where to look"} {
		at := strings.Index(told, chapter)
		if at < 0 {
			t.Fatalf("%q is not told, or not in order, in\n%s", chapter, out.String())
		}
		told = told[at:]
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("colours were written, though standard output is no terminal")
	}
	t.Logf("the demonstration took %s", time.Since(began).Round(time.Second))
}

func TestPlayedShopStops(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	shop, err := newPlayedShop(1, "api", "search")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- shop.Run(ctx) }() // ends when ctx is cancelled
	address := shop.services[0].listener.Addr().(*net.TCPAddr).String()
	eventually(t, 10*time.Second, "the played service answers", func() (bool, string) {
		status, text := get("http://" + address + "/metrics")
		return status == http.StatusOK && strings.Contains(text, `http_requests_total{code="500",tenant="acme"} 0`), text
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestWorkspaceOfTheShopHasItsFigures(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, fixtures.Shop()); err != nil {
		t.Fatal(err)
	}
	w, err := readWorkspace(t.Context(), dir, readSettings{policy: "default", windowScale: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.refused(); err != nil {
		t.Error(err)
	}
	got := map[string]float64{}
	for _, o := range w.objectives {
		got[o.Service] = float64(o.Target)
		if len(o.Declared) != 2 {
			t.Errorf("%s is declared at %v, want two places", o.ID(), o.Declared)
		}
	}
	if want := map[string]float64{"api": 0.995, "search": 0.999, "analytics": 0.99}; len(got) != 3 || got["api"] != want["api"] || got["search"] != want["search"] || got["analytics"] != want["analytics"] {
		t.Errorf("targets %v, want %v", got, want)
	}
}
