package topology

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/slowburn/slowburn/slo"
)

// DefaultHost is where a Docker engine listens unless told otherwise.
const DefaultHost = "unix:///var/run/docker.sock"

const (
	defaultTimeout = 5 * time.Second
	maxBody        = 32 << 20 // 10,000 containers need about half of it
)

// Engine is a Docker engine at one moment. Containers is sorted by name and holds the stopped ones too.
type Engine struct {
	Host       string      `json:"host"`
	Version    string      `json:"version"`
	APIVersion string      `json:"apiVersion"` // the one spoken with it
	Containers []Container `json:"containers"`
}

// Container is one container of an engine. Project and Service are empty where Compose did not make it.
type Container struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Image   string            `json:"image"`
	Project string            `json:"project,omitempty"`
	Service string            `json:"service,omitempty"`
	State   string            `json:"state"` // running, exited, …
	Labels  map[string]string `json:"labels,omitempty"`
	Ports   []Port            `json:"ports,omitempty"`
}

// Running reports whether the container runs.
func (c Container) Running() bool { return c.State == string(container.StateRunning) }

// InspectOption adjusts Inspect.
type InspectOption func(*inspection)

type inspection struct{ timeout time.Duration }

// Within bounds how long the engine may take to answer everything; the default is five seconds.
func Within(d time.Duration) InspectOption { return func(i *inspection) { i.timeout = d } }

// Inspect asks the Docker engine at host (unix:///path or tcp://address; empty means DefaultHost) what it
// runs. Every request is a GET: the transport lets no other through. The error says what to do about it.
func Inspect(ctx context.Context, host string, options ...InspectOption) (*Engine, error) {
	in := inspection{timeout: defaultTimeout}
	for _, o := range options {
		o(&in)
	}
	if host == "" {
		host = DefaultHost
	}
	ctx, cancel := context.WithTimeout(ctx, in.timeout)
	defer cancel()
	e, err := inspect(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("ask Docker engine at %s: %w", host, advise(err, in.timeout))
	}
	return e, nil
}

func inspect(ctx context.Context, host string) (*Engine, error) {
	transport, err := dial(host)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	// The client says "cannot connect" whatever the cause is: this finds the cause.
	probe, err := transport.DialContext(ctx, "", "")
	if err != nil {
		return nil, err
	}
	if err := probe.Close(); err != nil {
		return nil, err
	}
	c, err := client.New(client.WithHost(host), client.WithHTTPClient(&http.Client{
		Transport: getOnly{transport}, CheckRedirect: client.CheckRedirect}), client.WithScheme("http"))
	if err != nil {
		return nil, err
	}
	// Asked for by name, because the client would swallow an engine that is too old and go on in vain.
	if _, err := c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return nil, err
	}
	version, err := c.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return nil, err
	}
	list, err := c.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, err
	}
	e := &Engine{Host: host, Version: oneLine(version.Version), APIVersion: c.ClientVersion(), Containers: []Container{}}
	for _, item := range list.Items {
		e.Containers = append(e.Containers, read(item))
	}
	slices.SortFunc(e.Containers, func(a, b Container) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return e, nil
}

// read takes over one container of the engine's list.
func read(item container.Summary) Container {
	c := Container{ID: item.ID, Image: item.Image, State: string(item.State), Labels: item.Labels,
		Project: item.Labels["com.docker.compose.project"], Service: item.Labels["com.docker.compose.service"]}
	if len(item.Names) > 0 {
		c.Name = strings.TrimPrefix(item.Names[0], "/")
	}
	for _, p := range item.Ports {
		port := Port{Container: int(p.PrivatePort), Protocol: protocol(p.Type)}
		if p.PublicPort != 0 {
			port.Published = strconv.Itoa(int(p.PublicPort))
			if p.IP.IsValid() {
				port.HostIP = p.IP.String()
			}
		}
		c.Ports = append(c.Ports, port)
	}
	slices.SortFunc(c.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.HostIP, b.HostIP), cmp.Compare(a.Published, b.Published))
	})
	return c
}

// dial makes a transport to unix:///path or tcp://address. It takes no proxy from the environment.
func dial(host string) (*http.Transport, error) {
	scheme, address, _ := strings.Cut(host, "://")
	if scheme != "unix" && scheme != "tcp" || address == "" {
		return nil, errors.New("host is neither unix:///path nor tcp://address:port")
	}
	if scheme == "tcp" {
		address, _, _ = strings.Cut(address, "/")
	}
	var d net.Dialer
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, scheme, address)
	}}, nil
}

// getOnly lets only GET requests reach the engine, and bounds what it answers. The client's ping is a HEAD,
// which engines answer just as they do a GET.
type getOnly struct{ next http.RoundTripper }

func (g getOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	switch r.Method {
	case http.MethodGet:
	case http.MethodHead:
		r = r.Clone(r.Context())
		r.Method = http.MethodGet
	default:
		return nil, fmt.Errorf("refuse to send %s %s: only GET is allowed", r.Method, r.URL.Path)
	}
	response, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = &bounded{response.Body, maxBody}
	return response, nil
}

// bounded fails a body that is too long instead of cutting it short.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("answer is longer than %d bytes", maxBody)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// advise adds what to do to the usual errors. The chain is kept for errors.Is.
func advise(err error, timeout time.Duration) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %s: is it hanging? %w", timeout, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("access denied: join the group docker, or run as its owner: %w", err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens there: start the engine, or name its socket with --docker: %w", err)
	}
	return err
}

// Unreachable is the finding for an engine that could not be asked: a warning, since the Compose files say
// all that the rules need.
func Unreachable(err error) slo.Finding {
	return slo.Finding{Rule: ruleEngine, Severity: slo.Warning, Message: oneLine(err.Error()), Remedy: "what runs is not compared with what is declared"}
}

// Kind says how a service declared and a service running differ. The set is closed.
type Kind string

// The three ways to differ.
const (
	NotRunning  Kind = "declared, not running"
	NotDeclared Kind = "running, not declared"
	OtherImage  Kind = "image differs"
)

// Difference is one service that does not run as it is declared.
type Difference struct {
	Kind      Kind         `json:"kind"`
	Service   string       `json:"service"`
	Declared  string       `json:"declared,omitempty"` // the image declared
	Running   string       `json:"running,omitempty"`  // the image running, or the state of what does not run
	Container string       `json:"container,omitempty"`
	Pos       slo.Position `json:"position"`
}

// Finding is the difference as a report prints it.
func (d Difference) Finding() slo.Finding {
	f := slo.Finding{Severity: slo.Warning, Pos: d.Pos}
	switch d.Kind {
	case NotRunning:
		f.Rule, f.Remedy = ruleNotRunning, "start it: docker compose up -d "+d.Service
		f.Message = fmt.Sprintf("service %s is declared but does not run (%s)", quote(d.Service), d.Running)
	case NotDeclared:
		f.Rule, f.Remedy = ruleUndeclared, "declare it, or remove it: docker compose up --remove-orphans"
		f.Message = fmt.Sprintf("container %s runs service %s, which no Compose file declares", quote(d.Container), quote(d.Service))
	case OtherImage:
		f.Rule, f.Remedy = ruleImage, "recreate it: docker compose up -d "+d.Service
		f.Message = fmt.Sprintf("container %s runs image %s where service %s declares %s", quote(d.Container), d.Running, quote(d.Service), d.Declared)
	default:
		panic("topology: difference of kind " + string(d.Kind))
	}
	f.Message = oneLine(f.Message)
	return f
}

// Compare says where the engine's containers of this Compose project differ from what is declared: sorted by
// service. Containers of other projects, and those Compose did not make, are not looked at. A service of
// profiles that are not active may run or not.
func (t *Topology) Compare(e *Engine) []Difference {
	mine := map[string][]Container{}
	for _, c := range e.Containers {
		if c.Project == t.Project && c.Service != "" {
			mine[c.Service] = append(mine[c.Service], c)
		}
	}
	var all []Difference
	for _, s := range t.Services {
		all = append(all, compare(s, mine[s.Name])...)
		delete(mine, s.Name)
	}
	for _, s := range t.inactive {
		delete(mine, s.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		for _, c := range mine[name] {
			if c.Running() {
				all = append(all, Difference{Kind: NotDeclared, Service: name, Running: c.Image, Container: c.Name})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Difference) int { return cmp.Compare(a.Service, b.Service) })
	return all
}

// compare looks at one declared service.
func compare(s Service, containers []Container) (all []Difference) {
	running, state := 0, "no container"
	for _, c := range containers {
		if !c.Running() {
			state = c.State
			continue
		}
		running++
		if s.Image != "" && !sameImage(s.Image, c.Image) {
			all = append(all, Difference{Kind: OtherImage, Service: s.Name, Declared: s.Image, Running: c.Image, Container: c.Name, Pos: s.Pos})
		}
	}
	if running == 0 && s.Replicas > 0 {
		all = append(all, Difference{Kind: NotRunning, Service: s.Name, Declared: s.Image, Running: state, Pos: s.Pos})
	}
	return all
}

// sameImage compares image names as Docker does: no registry is docker.io, no organisation there is library,
// and no tag is latest.
func sameImage(a, b string) bool { return fullName(a) == fullName(b) }

func fullName(image string) string {
	name, digest, _ := strings.Cut(image, "@")
	if strings.LastIndexByte(name, ':') <= strings.LastIndexByte(name, '/') && digest == "" {
		name += ":latest"
	}
	registry, rest, found := strings.Cut(name, "/")
	switch {
	case !found:
		name = "docker.io/library/" + name
	case !strings.ContainsAny(registry, ".:") && registry != "localhost":
		name = "docker.io/" + name
	case registry == "docker.io" && !strings.Contains(rest, "/"):
		name = "docker.io/library/" + rest
	}
	if digest != "" {
		return name + "@" + digest
	}
	return name
}
