package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
)

// debian is an Alertmanager as Debian has it.
type debian struct {
	url     string
	program string
	dir     string
	cmd     *exec.Cmd
	output  bytes.Buffer
}

func startReal(t *testing.T) *debian {
	t.Helper()
	program, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		program, err = exec.LookPath("alertmanager")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Alertmanager: install the package prometheus-alertmanager")
		}
		t.Skip("no Alertmanager: install the package prometheus-alertmanager")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	r := &debian{url: "http://" + address, program: program, dir: t.TempDir()}
	config := "route: {receiver: none, group_wait: 0s}\nreceivers: [{name: none}]\n"
	if err := os.WriteFile(filepath.Join(r.dir, "alertmanager.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	t.Cleanup(r.kill)
	return r
}

func (r *debian) start(t *testing.T) {
	t.Helper()
	r.cmd = exec.Command(r.program, "--config.file="+filepath.Join(r.dir, "alertmanager.yml"), "--storage.path="+filepath.Join(r.dir, "data"),
		"--web.listen-address="+r.url[len("http://"):], "--cluster.listen-address=")
	r.cmd.Stdout, r.cmd.Stderr = &r.output, &r.output
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.until(t, "ready", func() bool {
		resp, err := http.Get(r.url + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// kill ends the process as kill -9 does.
func (r *debian) kill() {
	_ = r.cmd.Process.Kill() // it may have ended by itself
	_ = r.cmd.Wait()
}

// until asks the other process again and again: its clock is not ours to fake.
func (r *debian) until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	tick, late := time.NewTicker(50*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !reached() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not %s after 30 s; Alertmanager says:\n%s", what, r.output.String())
		}
	}
}

type got struct {
	Labels       map[string]string
	Annotations  map[string]string
	StartsAt     time.Time
	EndsAt       time.Time
	GeneratorURL string
}

// active are the alerts that fire.
func (r *debian) active(t *testing.T) map[string]got {
	t.Helper()
	found := map[string]got{}
	resp, err := http.Get(r.url + "/api/v2/alerts")
	if err != nil {
		return found
	}
	defer resp.Body.Close()
	var all []got
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		found[a.Labels["alertname"]+a.Labels["n"]] = a
	}
	return found
}

func TestRealAlertmanager(t *testing.T) {
	am := startReal(t)
	s, err := New(Config{Endpoints: []Endpoint{{URL: am.url}}}, Options{Dir: t.TempDir(), ExternalURL: "http://here"})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s)
	defer stop()
	began := time.Now().Add(-time.Minute).Truncate(time.Millisecond)

	s.Notify(context.Background(), "up == 0", firing("A", began))
	am.until(t, "firing", func() bool { return len(am.active(t)) == 1 })
	a := am.active(t)["A"]
	if !a.StartsAt.Equal(began) || a.Annotations["summary"] != "s" || a.GeneratorURL != "http://here/graph?g0.expr=up+%3D%3D+0&g0.tab=1" {
		t.Errorf("A: %+v", a)
	}

	// It dies; one alert ends and another begins meanwhile; it forgets everything.
	am.kill()
	s.Notify(context.Background(), "1", resolved("A", began, time.Now()), firing("B", began))
	am.start(t)
	am.until(t, "told of B", func() bool { _, ok := am.active(t)["B"]; return ok })
	if _, ok := am.active(t)["A"]; ok {
		t.Error("A fires again")
	}
	s.Notify(context.Background(), "1", resolved("B", began, time.Now()))
	am.until(t, "resolved", func() bool { return len(am.active(t)) == 0 })
}

// E17 with the real one: it refuses a name, and stores the rest.
func TestRealAlertmanagerRefusing(t *testing.T) {
	am := startReal(t)
	s, err := New(Config{Endpoints: []Endpoint{{URL: am.url}}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all []*rules.Alert
	for n := range 256 {
		a := firing("A", time.Now())
		a.Labels = labels.FromStrings("alertname", "A", "n", fmt.Sprint(n))
		if n == 100 {
			a.Labels = labels.FromStrings("n", "100", "not\x80valid", "x")
		}
		all = append(all, a)
	}
	s.Notify(context.Background(), "1", all...)
	stop := run(t, s)
	defer stop()
	am.until(t, "told of 255 alerts", func() bool { return len(am.active(t)) == 255 })
	am.until(t, "given up on the invalid one", func() bool { return s.Queued() == 0 })
}
