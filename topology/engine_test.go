package topology

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/slowburn/slowburn/slo"
)

// TestMain also proves that Inspect leaves no goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngine answers on a Unix socket as a Docker engine does, and keeps what it was asked.
type fakeEngine struct {
	host string

	mu   sync.Mutex
	asks []string
}

// engine starts a fake engine whose answers to /_ping, /version and /containers/json are given.
func engine(t *testing.T, answers map[string]http.HandlerFunc) *fakeEngine {
	t.Helper()
	e := &fakeEngine{}
	socket := listen(t)
	e.host = "unix://" + socket.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.asks = append(e.asks, r.Method+" "+r.URL.String())
		e.mu.Unlock()
		for end, answer := range answers {
			if strings.HasSuffix(r.URL.Path, end) {
				answer(w, r)
				return
			}
		}
		http.NotFound(w, r)
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(socket) }() // ends when the server is closed below
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return e
}

// listen makes a socket in a directory of its own: the path of one may not be longer than 107 bytes.
func listen(t *testing.T) net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "sb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// asked are the methods and addresses of all requests.
func (e *fakeEngine) asked() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.asks...)
}

func (e *fakeEngine) onlyGets(t *testing.T) {
	t.Helper()
	for _, a := range e.asked() {
		if !strings.HasPrefix(a, "GET ") {
			t.Errorf("request %s is not a GET", a)
		}
	}
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

func ping(version string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", version)
		fmt.Fprint(w, "OK")
	}
}

const threeContainers = `[
 {"Id":"2","Names":["/shop-web-1"],"Image":"web:2","State":"exited","Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}},
 {"Id":"1","Names":["/shop-api-1"],"Image":"api:1","State":"running","Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"api"},
  "Ports":[{"IP":"::","PrivatePort":3000,"PublicPort":4001,"Type":"tcp"},{"IP":"0.0.0.0","PrivatePort":3000,"PublicPort":4001,"Type":"tcp"},{"PrivatePort":53,"Type":"udp"}]},
 {"Id":"3","Names":[],"Image":"lone","State":"running","Labels":null}]`

func TestInspect(t *testing.T) {
	e := engine(t, map[string]http.HandlerFunc{"/_ping": ping("1.41"), "/version": says(`{"Version":"20.10.24"}`), "/containers/json": says(threeContainers)})
	got, err := Inspect(context.Background(), e.host)
	if err != nil {
		t.Fatal(err)
	}
	shop := func(service string) map[string]string {
		return map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": service}
	}
	want := &Engine{Host: e.host, Version: "20.10.24", APIVersion: "1.41", Containers: []Container{
		{ID: "3", Image: "lone", State: "running"},
		{ID: "1", Name: "shop-api-1", Image: "api:1", Project: "shop", Service: "api", State: "running", Labels: shop("api"), Ports: []Port{
			{Container: 53, Protocol: "udp"}, {HostIP: "0.0.0.0", Published: "4001", Container: 3000, Protocol: "tcp"}, {HostIP: "::", Published: "4001", Container: 3000, Protocol: "tcp"}}},
		{ID: "2", Name: "shop-web-1", Image: "web:2", Project: "shop", Service: "web", State: "exited", Labels: shop("web")},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("engine (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"GET /_ping", "GET /v1.41/version", "GET /v1.41/containers/json?all=1"}, e.asked()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestInspectFaults is row E41: an engine that is absent, denied, hanging or talks garbage gives one clear
// error in bounded time, and never a request that is not a GET.
func TestInspectFaults(t *testing.T) {
	hang := make(chan struct{})
	hanging := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}
	t.Cleanup(func() { close(hang) })
	for _, tt := range []struct {
		name    string
		answers map[string]http.HandlerFunc
		want    string
	}{
		{"hanging", map[string]http.HandlerFunc{"/_ping": hanging}, "no answer within 50ms: is it hanging?"},
		{"hanging list", map[string]http.HandlerFunc{"/_ping": ping("1.41"), "/version": says(`{}`), "/containers/json": hanging}, "no answer within 50ms"},
		{"garbage", map[string]http.HandlerFunc{"/_ping": says("x"), "/version": says("\x00\x01<html>")}, "invalid character"},
		{"garbage list", map[string]http.HandlerFunc{"/_ping": ping("1.41"), "/version": says(`{}`), "/containers/json": says(`{"a":`)}, "unexpected EOF"},
		{"garbage version", map[string]http.HandlerFunc{"/_ping": ping("9;x")}, "must be formatted <major>.<minor>"},
		{"an engine too old", map[string]http.HandlerFunc{"/_ping": ping("1.24")}, "minimum supported API version is 1.40"},
		{"not an engine", nil, "page not found"},
		{"internal error", map[string]http.HandlerFunc{"/_ping": ping("1.41"), "/version": says(`{}`), "/containers/json": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, `{"message":"broken inside"}`)
		}}, "broken inside"},
		{"endless list", map[string]http.HandlerFunc{"/_ping": ping("1.41"), "/version": says(`{}`), "/containers/json": endless}, "answer is longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := engine(t, tt.answers)
			limit := 20 * time.Second
			if strings.HasPrefix(tt.name, "hanging") {
				limit = 50 * time.Millisecond
			}
			_, err := Inspect(context.Background(), e.host, Within(limit))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "ask Docker engine at unix://") {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
			e.onlyGets(t)
			if f := Unreachable(err); f.Severity != slo.Warning || strings.Contains(f.String(), "\n") {
				t.Errorf("finding %q of severity %s", f, f.Severity)
			}
		})
	}
}

// endless writes one JSON string that does not end.
func endless(w http.ResponseWriter, r *http.Request) {
	chunk := []byte(strings.Repeat("x", 1<<16))
	fmt.Fprint(w, `["`)
	for r.Context().Err() == nil {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestInspectWithoutEngine(t *testing.T) {
	dir := t.TempDir()
	raw := listen(t)
	go func() { // ends when the listener is closed by the test's cleanup
		for {
			c, err := raw.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				fmt.Fprint(c, "\x16\x03\x01 this is not HTTP\n")
			}
			c.Close()
		}
	}()
	for _, tt := range []struct{ host, want string }{
		{"unix://" + filepath.Join(dir, "none.sock"), "nothing listens there: start the engine"},
		{"tcp://127.0.0.1:1", "nothing listens there"},
		{"unix://" + raw.Addr().String(), "malformed HTTP"},
		{"ssh://host", "neither unix:///path nor tcp://"},
		{"unix://", "neither unix:///path nor tcp://"},
		{"nonsense", "neither unix:///path nor tcp://"},
	} {
		_, err := Inspect(context.Background(), tt.host)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one that says %q", tt.host, err, tt.want)
		}
	}
}

func TestInspectCancelled(t *testing.T) {
	e := engine(t, map[string]http.HandlerFunc{"/_ping": ping("1.41")})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Inspect(ctx, e.host); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestGetOnly(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		r, err := http.NewRequest(method, "http://docker/containers/x/kill", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (getOnly{http.DefaultTransport}).RoundTrip(r); err == nil || //nolint:bodyclose // nothing is sent, so that there is no body
			!strings.Contains(err.Error(), "only GET is allowed") {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestInspectTenThousand(t *testing.T) {
	type summary map[string]any
	list := make([]summary, 10_000)
	for i := range list {
		list[i] = summary{"Id": fmt.Sprintf("%064d", i), "Names": []string{fmt.Sprintf("/shop-s%d-1", i)}, "Image": "api:1", "State": "running",
			"Labels": map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": fmt.Sprintf("s%d", i), "filler": strings.Repeat("x", 500)}}
	}
	body, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	e := engine(t, map[string]http.HandlerFunc{"/_ping": ping("1.41"), "/version": says(`{}`), "/containers/json": says(string(body))})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := Inspect(context.Background(), e.host)
	runtime.ReadMemStats(&after)
	if err != nil || len(got.Containers) != 10_000 {
		t.Fatalf("%d containers, error %v", len(got.Containers), err)
	}
	if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 100 {
		t.Errorf("%d MiB allocated", mb)
	}
	top := &Topology{Project: "shop", Services: []Service{{Name: "s1", Replicas: 1}}}
	if n := len(top.Compare(got)); n != 9_999 {
		t.Errorf("%d differences, want 9999", n)
	}
	e.onlyGets(t)
}

func TestCompare(t *testing.T) {
	at := slo.Position{File: "compose.yaml", Line: 2}
	declared := func(name, image string) Service {
		return Service{Name: name, Image: image, Replicas: 1, Pos: at}
	}
	run := func(service, image, state string) Container {
		return Container{Name: "shop-" + service + "-1", Project: "shop", Service: service, Image: image, State: state}
	}
	for _, tt := range []struct {
		name       string
		services   []Service
		inactive   []Service
		containers []Container
		want       string
	}{
		{name: "as declared", services: []Service{declared("a", "node:18")}, containers: []Container{run("a", "node:18", "running")}},
		{name: "the same image, spelled otherwise", services: []Service{declared("a", "node"), declared("b", "docker.io/acme/b:1"), declared("c", "localhost:5000/c")}, containers: []Container{
			run("a", "docker.io/library/node:latest", "running"), run("b", "acme/b:1", "running"), run("c", "localhost:5000/c:latest", "running")}},
		{name: "not running", services: []Service{declared("a", "x"), declared("b", "x")}, containers: []Container{run("a", "x", "exited")},
			want: "compose.yaml:2: service \"a\" is declared but does not run (exited): start it: docker compose up -d a (SB055)\n" +
				"compose.yaml:2: service \"b\" is declared but does not run (no container): start it: docker compose up -d b (SB055)"},
		{name: "zero replicas", services: []Service{{Name: "a", Image: "x"}}},
		{name: "not declared", containers: []Container{run("z", "x", "running"), run("y", "x", "exited")},
			want: "container \"shop-z-1\" runs service \"z\", which no Compose file declares: declare it, or remove it: docker compose up --remove-orphans (SB056)"},
		{name: "inactive profile may run", inactive: []Service{declared("a", "x")}, containers: []Container{run("a", "x", "running")}},
		{name: "other image", services: []Service{declared("a", "node:18")}, containers: []Container{run("a", "node:20", "running")},
			want: "compose.yaml:2: container \"shop-a-1\" runs image node:20 where service \"a\" declares node:18: recreate it: docker compose up -d a (SB057)"},
		{name: "built without a name", services: []Service{declared("a", "")}, containers: []Container{run("a", "shop-a", "running")}},
		{name: "other project", containers: []Container{{Project: "else", Service: "a", State: "running"}, {Name: "lone", State: "running"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := &Topology{Project: "shop", Services: tt.services, inactive: tt.inactive}
			var got []string
			for _, d := range top.Compare(&Engine{Containers: tt.containers}) {
				got = append(got, d.Finding().String())
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}
