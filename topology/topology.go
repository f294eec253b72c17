// Package topology reads Compose files and asks a Docker engine, and says which services there are, what
// they run on and where they are scraped. It starts nothing, changes nothing, fetches nothing from a
// network and reads no file outside the scanned directory.
package topology

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slowburn/slowburn/slo"
)

// Options adjusts a Scan. The zero value reads what `docker compose` would read in the directory.
type Options struct {
	Logger   *slog.Logger
	Files    []string          // Compose files, relative to the directory; nil: COMPOSE_FILE, else compose.yaml and its kin with their override
	Profiles []string          // active profiles; nil: COMPOSE_PROFILES
	Env      map[string]string // variables for interpolation; nil: those of the process, then those of .env
}

// Topology is what the Compose files of one directory declare. Services is sorted by name. It is empty when
// a Compose file has a fault of severity error: half a topology would give contracts to the wrong service.
type Topology struct {
	Project  string        `json:"project,omitempty"` // the Compose project's name
	Files    []string      `json:"files"`             // every Compose file read, the included and extended ones too
	Services []Service     `json:"services"`
	Findings []slo.Finding `json:"findings"`

	inactive []Service // of profiles that are not active: they hold source, but do not run
}

// Service is one service of a Compose project. Paths are relative to the scanned directory, with forward
// slashes; "." is the directory itself.
type Service struct {
	Name        string            `json:"name"`
	Alias       string            `json:"alias,omitempty"`      // what contracts and rules call it, by the label slowburn.service
	Image       string            `json:"image,omitempty"`      // as declared
	Build       string            `json:"build,omitempty"`      // the build context; empty when there is none inside the directory
	Dockerfile  string            `json:"dockerfile,omitempty"` // empty when there is none, or it is written inline
	BaseImage   string            `json:"baseImage,omitempty"`  // what the built stage starts from
	Runtime     Runtime           `json:"runtime"`
	Ports       []Port            `json:"ports,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Healthcheck string            `json:"healthcheck,omitempty"` // the command; "none" when switched off
	Replicas    int               `json:"replicas"`
	Profiles    []string          `json:"profiles,omitempty"`
	Sources     []string          `json:"sources,omitempty"` // directories that hold its source: build context, bind mounts
	Pos         slo.Position      `json:"position"`
	Targets     []Target          `json:"targets,omitempty"`
}

// Known is the name contracts and rules know the service by.
func (s Service) Known() string {
	if s.Alias != "" {
		return s.Alias
	}
	return s.Name
}

// Runtime is what a service's code runs on. Version is a version where one is fixed (18.16), else the range
// that package.json allows, else empty.
type Runtime struct {
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	Source  string `json:"source,omitempty"` // where that was read
}

// Port is a container's port and, where it is published, the host's. Published is a range such as
// 8000-8002 where Compose leaves the choice to the engine.
type Port struct {
	HostIP    string `json:"hostIP,omitempty"`
	Published string `json:"published,omitempty"`
	Container int    `json:"container"`
	Protocol  string `json:"protocol"`
}

// Target is an endpoint to scrape. Address can be reached from this machine where the port is published,
// else it is service:port on the project's network.
type Target struct {
	Service string `json:"service"`
	Address string `json:"address"`
	Path    string `json:"path"`
	Scheme  string `json:"scheme"`
	Source  string `json:"source"` // what said so: a label, or the only port there is
}

// Scan reads the Compose files of dir. It returns an error only where nothing could be done, as when dir is
// not a directory; every fault in what is read is a finding.
func Scan(ctx context.Context, dir string, o Options) (*Topology, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := openRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", dir, err)
	}
	s := &scan{root: r, docs: map[string]*document{}, approved: map[string]bool{}, followed: map[string]bool{}}
	s.env = s.environment(o.Env)
	t := &Topology{Files: []string{}, Services: []Service{}}
	if files := s.composeFiles(o.Files); len(files) > 0 {
		s.read(ctx, t, files, o.Profiles)
	}
	slo.SortFindings(s.findings)
	t.Findings = snippets(s)
	if o.Logger != nil {
		o.Logger.Debug("compose scan", "files", len(t.Files), "services", len(t.Services), "findings", len(t.Findings))
	}
	return t, nil
}

// Service finds a service by its Compose name, else by its alias.
func (t *Topology) Service(name string) (Service, bool) {
	for _, called := range []func(Service) string{func(s Service) string { return s.Name }, Service.Known} {
		if i := slices.IndexFunc(t.Services, func(s Service) bool { return called(s) == name }); i >= 0 {
			return t.Services[i], true
		}
	}
	return Service{}, false
}

// ServiceOf names the service whose source directory holds file, a path relative to the scanned directory:
// the one with the longest such directory. Among several with the same one it is the service named like that
// directory; failing that, the file is nobody's and the answer is empty.
func (t *Topology) ServiceOf(file string) string {
	file = path.Clean(filepath.ToSlash(file))
	active, dir := owner(t.Services, file)
	inactive, deeper := owner(t.inactive, file)
	if depth(deeper) > depth(dir) {
		return inactive
	}
	return active
}

// owner returns the longest directory that holds the file, and the name of the service it is the source of.
// The directory is empty when there is none, the name also when the directory is shared.
func owner(services []Service, file string) (name, best string) {
	var names []string
	for _, s := range services {
		for _, dir := range s.Sources {
			switch {
			case !holds(dir, file) || depth(dir) < depth(best):
			case depth(dir) > depth(best):
				best, names = dir, []string{s.Known()}
			case !slices.Contains(names, s.Known()):
				names = append(names, s.Known())
			}
		}
	}
	return pick(names, best), best
}

// pick settles a directory that several services share by its own name.
func pick(names []string, dir string) string {
	if len(names) == 1 {
		return names[0]
	}
	if base := path.Base(dir); slices.Contains(names, base) {
		return base
	}
	return ""
}

func holds(dir, file string) bool {
	return dir == "." && !strings.HasPrefix(file, "../") && !path.IsAbs(file) || file == dir || strings.HasPrefix(file, dir+"/")
}

// depth orders the directories that hold a file: none, the scanned one, those below.
func depth(dir string) int {
	switch dir {
	case "":
		return 0
	case ".":
		return 1
	}
	return strings.Count(dir, "/") + 2
}

// environment is what interpolation reads. The process wins over .env, as with docker compose.
func (s *scan) environment(given map[string]string) map[string]string {
	env := map[string]string{}
	if given != nil {
		maps.Copy(env, given)
		return env
	}
	for _, entry := range os.Environ() { //nolint:forbidigo // Compose interpolates from the process; Options.Env takes its place
		if k, v, ok := strings.Cut(entry, "="); ok {
			env[k] = v
		}
	}
	vars, _ := s.dotenv(".env", env)
	for k, v := range vars {
		if _, ok := env[k]; !ok {
			env[k] = v
		}
	}
	return env
}
