package topology

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/slowburn/slowburn/slo"
)

// composeFiles names the files to read, relative to the directory: those given, those of COMPOSE_FILE, or
// the default one with its override.
func (s *scan) composeFiles(given []string) []string {
	if len(given) > 0 {
		return given
	}
	if list := s.env["COMPOSE_FILE"]; list != "" {
		separator := s.env["COMPOSE_PATH_SEPARATOR"]
		if separator == "" {
			separator = string(os.PathListSeparator)
		}
		return strings.Split(list, separator)
	}
	found := s.present("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
	if len(found) == 0 {
		s.report(slo.Finding{Rule: ruleNoFile, Severity: slo.Note, Message: "no Compose file in the directory", Remedy: "name one with --compose-file if there is one elsewhere"})
		return nil
	}
	if len(found) > 1 {
		s.report(slo.Finding{Rule: ruleNoFile, Severity: slo.Warning, Pos: slo.Position{File: found[1]}, Message: "is not read, since " + found[0] + " stands beside it", Remedy: "remove one, or name both"})
	}
	overrides := s.present("compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml")
	return append(found[:1], overrides[:min(1, len(overrides))]...)
}

// present lists which of the names exist in the directory, whatever they are.
func (s *scan) present(names ...string) (found []string) {
	for _, name := range names {
		if _, err := os.Lstat(s.root.abs(name)); err == nil {
			found = append(found, name)
		}
	}
	return found
}

// read fills the topology from the given files and all they pull in.
func (s *scan) read(ctx context.Context, t *Topology, files, profiles []string) {
	s.main = filepath.Dir(s.root.abs(files[0]))
	if _, ok := s.root.rel(s.main); !ok {
		s.main = s.root.dir
	}
	if profiles == nil {
		profiles = strings.FieldsFunc(s.env["COMPOSE_PROFILES"], func(r rune) bool { return r == ',' || r == ' ' })
	}
	var given []*document
	for _, file := range files {
		if d := s.open(file, slo.Position{}); d != nil {
			given = append(given, d)
		}
	}
	for _, d := range given {
		s.follow(d, within{base: s.main, env: s.env})
	}
	s.foldRanges(given)
	for _, d := range s.order {
		t.Files = append(t.Files, d.file)
	}
	project := s.project(ctx, given, profiles)
	if project == nil || s.faulty() {
		return
	}
	t.Project = project.Name
	s.services(t, project)
	if s.faulty() {
		t.Services, t.inactive = []Service{}, nil
	}
}

// project has compose-go read the given documents. Where it refuses, the faulty part is taken out and it is
// asked again, so that every fault is reported and not the first.
func (s *scan) project(ctx context.Context, given []*document, profiles []string) *types.Project {
	for _, d := range given {
		if !d.broken && len(d.trees) == 0 {
			s.report(slo.Finding{Rule: ruleCompose, Severity: slo.Warning, Pos: slo.Position{File: d.file}, Message: "Compose file is empty", Remedy: "declare services in it"})
		}
	}
	given = slices.DeleteFunc(given, func(d *document) bool { return d.broken || len(d.trees) == 0 })
	if len(given) == 0 || slices.ContainsFunc(s.order, func(d *document) bool { return d.broken || d.mended && !slices.Contains(given, d) }) {
		return nil
	}
	blamed := map[string]bool{}
	for _, f := range s.findings {
		if f.Severity == slo.Error {
			blamed[s.serviceAt(f.Pos)] = true
		}
	}
	delete(blamed, "")
	cost := cost(given)
	for s.spent == 0 || s.spent+cost < maxSpent {
		s.spent += cost
		project, err := s.load(ctx, given, profiles)
		if err == nil {
			return project
		}
		if !s.refused(ctx, given, err, blamed, profiles) {
			return nil
		}
	}
	s.report(slo.Finding{Rule: ruleCompose, Pos: slo.Position{File: given[0].file}, Message: "Compose refuses more than is listed here", Remedy: "mend these first"})
	return nil
}

// maxSpent bounds how much is read again in search of faults; it comes to less than a second.
const maxSpent = 4_000

// cost estimates what one load takes, in units of a quarter of a millisecond.
func cost(given []*document) int {
	units := 1
	for _, d := range given {
		units += len(d.text) >> 10
		for _, tree := range d.trees {
			units += len(pairs(find(tree, "services").value))
		}
	}
	return units
}

// load is one run of compose-go over the documents. It does not resolve environments and label files, since
// it would read them from anywhere; labels are resolved in labels.
func (s *scan) load(ctx context.Context, given []*document, profiles []string) (project *types.Project, err error) {
	defer func() {
		if r := recover(); r != nil {
			// compose-go asserts types of values that its schema has not yet judged.
			project, err = nil, fmt.Errorf("compose-go stops at a value of the wrong type: %v", r)
		}
	}()
	details := types.ConfigDetails{WorkingDir: s.main, Environment: maps.Clone(s.env)}
	for _, d := range given {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: s.root.abs(d.file), Content: d.content()})
	}
	return loader.LoadWithContext(ctx, details, func(o *loader.Options) {
		o.SkipResolveEnvironment, o.SkipResolveLabels = true, true
		o.Profiles = profiles
		o.ResourceLoaders = []loader.ResourceLoader{guard{s.approved}}
		o.SetProjectName(projectName(s.env, s.main), s.env["COMPOSE_PROJECT_NAME"] != "")
		o.Interpolate.Substitute = func(text string, m template.Mapping) (string, error) {
			return template.SubstituteWithOptions(text, m, template.WithoutLogging)
		}
	})
}

// projectName is the default that a name: in the file overrides, and COMPOSE_PROJECT_NAME overrides both.
func projectName(env map[string]string, dir string) string {
	if name := loader.NormalizeProjectName(env["COMPOSE_PROJECT_NAME"]); name != "" {
		return name
	}
	if name := loader.NormalizeProjectName(path.Base(filepath.ToSlash(dir))); name != "" {
		return name
	}
	return "default"
}

// guard makes compose-go refuse every reference that was not approved before. It is the second lock: follow
// is the first, and should the two ever read a file differently, nothing outside is opened.
type guard struct{ approved map[string]bool }

func (g guard) Accept(path string) bool { return !g.approved[path] }

func (g guard) Load(_ context.Context, path string) (string, error) {
	return "", fmt.Errorf("%s: %w", quote(path), errOutside)
}

func (g guard) Dir(path string) string { return path }

// services turns compose-go's project into ours.
func (s *scan) services(t *Topology, p *types.Project) {
	places := s.places()
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		t.Services = append(t.Services, s.service(p.Services[name], places[name], true))
	}
	for _, name := range slices.Sorted(maps.Keys(p.DisabledServices)) {
		service := s.service(p.DisabledServices[name], places[name], false)
		t.inactive = append(t.inactive, service)
		s.report(slo.Finding{Rule: ruleProfile, Severity: slo.Note, Pos: service.Pos, Remedy: "activate one with --profile to count it in",
			Message: fmt.Sprintf("service %s is left out: none of its profiles (%s) is active", quote(name), strings.Join(service.Profiles, ", "))})
	}
	s.shared(t.Services)
}

// service reads one service. What concerns only running services is not judged for one that is inactive.
func (s *scan) service(c types.ServiceConfig, pos slo.Position, active bool) Service {
	service := Service{Name: c.Name, Image: c.Image, Pos: pos, Replicas: c.GetScale(),
		Profiles: c.Profiles, Healthcheck: healthcheck(c.HealthCheck), Ports: ports(c)}
	service.Labels = s.labels(c, service.Pos)
	service.Alias = service.Labels[labelService]
	s.source(&service, c)
	s.runtime(&service)
	if active {
		service.Targets = s.targets(service, c.NetworkMode == "host")
	}
	return service
}

func healthcheck(h *types.HealthCheckConfig) string {
	switch {
	case h == nil:
		return ""
	case h.Disable || len(h.Test) > 0 && h.Test[0] == "NONE":
		return "none"
	case len(h.Test) == 0:
		return ""
	case h.Test[0] == "CMD" || h.Test[0] == "CMD-SHELL":
		return strings.Join(h.Test[1:], " ")
	}
	return strings.Join(h.Test, " ")
}

// shared notes directories that several services are built from: a contract there may be either's.
func (s *scan) shared(services []Service) {
	users := map[string][]Service{}
	for _, service := range services {
		for _, dir := range service.Sources {
			users[dir] = append(users[dir], service)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(users)) {
		var names []string
		for _, u := range users[dir] {
			if !slices.Contains(names, u.Known()) {
				names = append(names, u.Known())
			}
		}
		if len(names) > 1 && pick(names, dir) == "" {
			s.report(slo.Finding{Rule: ruleShared, Severity: slo.Note, Pos: users[dir][0].Pos, Remedy: "give them one name with the label " + labelService + ", or name each one's directory with the label " + labelSource,
				Message: fmt.Sprintf("services %s share the source directory %s: a contract directly in it belongs to none of them", strings.Join(names, ", "), quote(dir))})
		}
	}
}
