package topology

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// metricsServer is the only program in the images of the real engine's test.
const metricsServer = `package main

import (
	"fmt"
	"net/http"
)

func main() {
	panic(http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "up 1") })))
}
`

// TestRealEngine compares a Compose project with what a Docker engine of the test's own runs. The engine has
// its own state, socket and network, and publishes on 127.0.0.1 only.
func TestRealEngine(t *testing.T) {
	d := startEngine(t)
	d.network(t, "sbtest")
	d.image(t, "sbtest/api:1")
	d.image(t, "sbtest/other:1")
	address := d.run(t, "shop-api-1", "sbtest/api:1", "shop", "api")
	d.run(t, "shop-web-1", "sbtest/other:1", "shop", "web")
	d.run(t, "shop-old-1", "sbtest/other:1", "shop", "old")
	d.run(t, "else-api-1", "sbtest/other:1", "else", "api")

	_, published, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	top := quiet(t, scanned(t, world(t, `-- compose.yaml --
services:
  api: {image: "sbtest/api:1", ports: ["127.0.0.1:`+published+`:8080"]}
  web: {image: "sbtest/web:1", expose: ["8080"]}
  gone: {image: "sbtest/api:1", expose: ["8080"]}
`), Options{}))
	e, err := Inspect(context.Background(), d.host, Within(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("engine %s, API %s", e.Version, e.APIVersion)
	var got []string
	for _, diff := range top.Compare(e) {
		got = append(got, fmt.Sprintf("%s: %s %s/%s", diff.Service, diff.Kind, diff.Declared, diff.Running))
	}
	want := []string{"gone: declared, not running sbtest/api:1/no container", "old: running, not declared /sbtest/other:1", "web: image differs sbtest/web:1/sbtest/other:1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	target := service(t, top, "api").Targets[0]
	if target.Address != address {
		t.Errorf("target %s, published %s", target.Address, address)
	}
	if body := fetch(t, target); body != "up 1\n" {
		t.Errorf("scraped %q", body)
	}
}

// fetch scrapes a target. The engine's proxy listens before the server in the container does, so that a
// broken connection is tried again.
func fetch(t *testing.T, target Target) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, target.Scheme+"://"+target.Address+target.Path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.Do(r)
		if ctx.Err() != nil {
			t.Fatalf("scrape %s: %v", target.Address, err)
		}
		if err != nil {
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
}

// dockerd is a Docker engine that the test started.
type dockerd struct {
	host   string
	client http.Client
	binary []byte // the static program of its images
}

// startEngine starts dockerd with everything it keeps in a directory of the test's own, and stops it by its
// process when the test ends.
func startEngine(t *testing.T) *dockerd {
	t.Helper()
	program, err := exec.LookPath("dockerd")
	if err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("dockerd is not installed, or this is not root: CI must have both (Debian: apt-get install docker.io)")
		}
		t.Skip("needs dockerd and root: apt-get install docker.io")
	}
	dir, err := os.MkdirTemp("", "sb") // a short path: a socket's may not be longer than 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	socket := filepath.Join(dir, "s")
	d := &dockerd{host: "unix://" + socket, binary: compile(t)}
	var dialer net.Dialer
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	d.client.Transport = transport

	cmd := exec.Command(program, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "-p", filepath.Join(dir, "pid"),
		"-H", d.host, "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan bool, 1), make(chan string, 1)
	go func() { ended <- follow(log, ready) }() // ends with the engine, whose log it reads
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		text := <-ended
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("dockerd ended: %v\n%s", err, text)
		}
	})
	select {
	case <-ready:
	case text := <-ended:
		ended <- text
		t.Fatalf("dockerd does not start:\n%s", text)
	}
	return d
}

// follow reads the engine's log to its end and reports when it listens. It returns the last lines.
func follow(log io.Reader, ready chan<- bool) string {
	var last []string
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if strings.Contains(lines.Text(), "API listen on") {
			ready <- true
		}
		last = append(last, lines.Text())
		last = last[max(0, len(last)-20):]
	}
	return strings.Join(last, "\n")
}

// compile builds the static program.
func compile(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	appendTo(t, filepath.Join(dir, "main.go"), metricsServer)
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "app"), filepath.Join(dir, "main.go"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(filepath.Join(dir, "app"))
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// call sends a request that changes the engine: the test's own, never the package's.
func (d *dockerd) call(t *testing.T, method, path string, body io.Reader, contentType string) []byte {
	t.Helper()
	r, err := http.NewRequest(method, "http://docker/v1.41"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	response, err := d.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 || bytes.Contains(text, []byte(`"error"`)) {
		t.Fatalf("%s %s: %s %v\n%s", method, path, response.Status, err, text)
	}
	return text
}

func (d *dockerd) post(t *testing.T, path string, what any) (answer struct{ ID string }) {
	t.Helper()
	body, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	if text := d.call(t, http.MethodPost, path, bytes.NewReader(body), "application/json"); len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

// network makes a bridge of the test's own, so that no docker0 is left on the machine.
func (d *dockerd) network(t *testing.T, name string) {
	t.Helper()
	d.post(t, "/networks/create", map[string]any{"Name": name, "Driver": "bridge"})
	t.Cleanup(func() { d.call(t, http.MethodDelete, "/networks/"+name, nil, "") })
}

// image imports an image from scratch that holds the program and nothing else.
func (d *dockerd) image(t *testing.T, name string) {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(d.binary))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(d.binary); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d.call(t, http.MethodPost, `/images/create?fromSrc=-&changes=ENTRYPOINT+["/app"]&repo=`+name, &archive, "application/x-tar")
}

// run starts a container as Compose labels it and returns where its port is published.
func (d *dockerd) run(t *testing.T, name, image, project, service string) string {
	t.Helper()
	id := d.post(t, "/containers/create?name="+name, map[string]any{"Image": image,
		"Labels":       map[string]string{"com.docker.compose.project": project, "com.docker.compose.service": service},
		"ExposedPorts": map[string]any{"8080/tcp": map[string]any{}},
		"HostConfig":   map[string]any{"NetworkMode": "sbtest", "PortBindings": map[string]any{"8080/tcp": []map[string]string{{"HostIp": "127.0.0.1", "HostPort": ""}}}}}).ID
	t.Cleanup(func() { d.call(t, http.MethodDelete, "/containers/"+id+"?force=1", nil, "") })
	d.post(t, "/containers/"+id+"/start", nil)
	var state struct {
		NetworkSettings struct {
			Ports map[string][]struct{ HostIP, HostPort string }
		}
	}
	if err := json.Unmarshal(d.call(t, http.MethodGet, "/containers/"+id+"/json", nil, ""), &state); err != nil {
		t.Fatal(err)
	}
	for _, p := range state.NetworkSettings.Ports["8080/tcp"] {
		return net.JoinHostPort(p.HostIP, p.HostPort)
	}
	t.Fatalf("container %s publishes nothing", name)
	return ""
}
