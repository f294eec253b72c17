package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/slowburn/slowburn/slo"
)

// source finds where a service's code stands: its build context with the Dockerfile, the directories it
// mounts, and what the label slowburn.source says.
func (s *scan) source(service *Service, c types.ServiceConfig) {
	if c.Build != nil {
		s.build(service, c.Build)
	}
	for _, v := range c.Volumes {
		if dir, ok := s.mounted(v, c.WorkingDir); ok {
			service.Sources = append(service.Sources, dir)
		}
	}
	if dir := service.Labels[labelSource]; dir != "" {
		if rel, ok := s.root.rel(dir); ok && s.root.directory(rel) {
			service.Sources = append(service.Sources, rel)
		} else {
			s.badLabel(service.Pos, labelSource, dir, "name a directory inside the scanned one")
		}
	}
	slices.Sort(service.Sources)
	service.Sources = slices.Compact(service.Sources)
}

// mounted tells whether a bind mount brings source into the container: a directory of ours that lands on the
// working directory, above or below it, or anywhere where there is no working directory.
func (s *scan) mounted(v types.ServiceVolumeConfig, workingDir string) (string, bool) {
	rel, inside := s.root.rel(v.Source)
	if v.Type != types.VolumeTypeBind || !inside || !s.root.directory(rel) {
		return "", false
	}
	target, work := path.Clean(v.Target), path.Clean("/"+workingDir)
	return rel, workingDir == "" || target == work || strings.HasPrefix(target, work+"/") || strings.HasPrefix(work, target+"/")
}

// build reads a service's build section: context, Dockerfile and the image the built stage starts from.
func (s *scan) build(service *Service, b *types.BuildConfig) {
	if strings.Contains(b.Context, "://") || remote(b.Context) {
		return // Compose builds it from elsewhere: there is no source here
	}
	dir, info, err := s.root.locate(b.Context)
	if err != nil || !info.IsDir() {
		s.badContext(service, b.Context, err)
		return
	}
	service.Build = dir
	service.Sources = append(service.Sources, dir)
	if b.DockerfileInline != "" {
		s.baseImage(service, b, b.DockerfileInline, "")
		return
	}
	file := b.Dockerfile
	if file == "" {
		file = "Dockerfile"
	}
	if !path.IsAbs(file) {
		file = path.Join(dir, file)
	}
	text, err := s.root.read(file)
	if err != nil {
		rule := ruleDockerfile
		if errors.Is(err, errOutside) {
			rule = ruleOutside
		}
		s.report(slo.Finding{Rule: rule, Severity: slo.Warning, Pos: service.Pos, Message: fmt.Sprintf("Dockerfile %s of service %s %s", quote(s.shown(file)), quote(service.Name), verb(err)), Remedy: "correct build.dockerfile"})
		return
	}
	service.Dockerfile, _ = s.root.rel(file)
	if beside := path.Dir(service.Dockerfile); beside != dir && strings.HasPrefix(beside+"/", strings.TrimPrefix(dir+"/", "./")) {
		// Monorepos build every service from the top, each with a Dockerfile in its own folder.
		service.Sources = append(service.Sources, beside)
	}
	s.baseImage(service, b, string(text), service.Dockerfile)
}

func (s *scan) badContext(service *Service, context string, err error) {
	f := slo.Finding{Rule: ruleDockerfile, Severity: slo.Warning, Pos: service.Pos, Remedy: "correct build.context"}
	switch {
	case err == nil:
		err = errors.New("is not a directory")
	case errors.Is(err, errOutside):
		f.Rule, f.Remedy = ruleOutside, "scan a directory that holds it; its source is not read"
	}
	f.Message = fmt.Sprintf("build context %s of service %s %s", quote(s.shown(context)), quote(service.Name), verb(err))
	s.report(f)
}

// baseImage reads the stages of a Dockerfile. file is empty for one written inline.
func (s *scan) baseImage(service *Service, b *types.BuildConfig, text, file string) {
	stages, err := parseDockerfile(text, s.buildArgs(b))
	rule := ruleDockerfile
	if err == nil {
		var o origin
		o, err = base(stages, b.Target, b.AdditionalContexts)
		rule = ruleBase
		if len(service.Ports) == 0 {
			service.Ports = o.ports
		}
		service.BaseImage, service.Runtime = o.image, runtimeOf(o.image)
		service.Runtime.Source = strings.TrimPrefix(fmt.Sprintf("%s:%d", file, o.line), ":")
	}
	if err == nil {
		return
	}
	line := 0
	if at, ok := errors.AsType[lineError](err); ok {
		line = at.line
	}
	pos := slo.Position{File: file, Line: line}
	if file == "" {
		pos = service.Pos
	}
	s.report(slo.Finding{Rule: rule, Severity: slo.Warning, Pos: pos, Related: []slo.Position{service.Pos},
		Message: fmt.Sprintf("base image of service %s is unknown: %s", quote(service.Name), err), Remedy: "correct the Dockerfile, or set build.args or build.target"})
}

// buildArgs are the arguments with a value; one without takes it from the environment.
func (s *scan) buildArgs(b *types.BuildConfig) map[string]string {
	args := map[string]string{}
	for k, v := range b.Args {
		if v != nil {
			args[k] = *v
		} else if value, ok := s.env[k]; ok {
			args[k] = value
		}
	}
	return args
}

// runtime decides what a service runs on: by its image's tag, else for Node by the files beside its source.
func (s *scan) runtime(service *Service) {
	if service.Build == "" && service.Image != "" {
		service.Runtime = runtimeOf(service.Image)
		service.Runtime.Source = "image " + service.Image
	}
	if service.Runtime.Name == "" {
		service.Runtime = Runtime{}
	}
	if service.Runtime.Version != "" || service.Runtime.Name != "" && service.Runtime.Name != "node" {
		return
	}
	for _, dir := range byDepth(service.Sources) {
		if version, file := s.nodeVersion(dir); version != "" {
			service.Runtime = Runtime{Name: "node", Version: version, Source: file}
			return
		}
	}
}

// byDepth puts the deepest directory first: it is the most particular.
func byDepth(dirs []string) []string {
	return slices.SortedStableFunc(slices.Values(dirs), func(a, b string) int { return depth(b) - depth(a) })
}

var plainVersion = regexp.MustCompile(`^v?(\d+(?:\.\d+)*)$`)

// nodeVersion reads the version of Node that a directory's files ask for.
func (s *scan) nodeVersion(dir string) (version, source string) {
	file := path.Join(dir, "package.json")
	if text, ok := s.optional(file); ok {
		var manifest struct{ Engines struct{ Node string } }
		if err := json.Unmarshal(text, &manifest); err != nil {
			s.report(slo.Finding{Rule: ruleRuntime, Severity: slo.Warning, Pos: slo.Position{File: file}, Message: "engines.node is unknown: " + err.Error(), Remedy: "mend the JSON"})
		} else if node := strings.TrimSpace(manifest.Engines.Node); node != "" {
			return strings.TrimPrefix(oneLine(node), "v"), file + " engines.node"
		}
	}
	for _, name := range []string{".nvmrc", ".node-version"} {
		file := path.Join(dir, name)
		text, _ := s.optional(file)
		if m := plainVersion.FindStringSubmatch(firstLine(text)); m != nil {
			return m[1], file
		}
	}
	return "", ""
}

// optional reads a file that need not be there; one that is and can't be read is reported.
func (s *scan) optional(file string) ([]byte, bool) {
	text, err := s.root.read(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		rule := ruleRuntime
		if errors.Is(err, errOutside) {
			rule = ruleOutside
		}
		s.report(slo.Finding{Rule: rule, Severity: slo.Warning, Pos: slo.Position{File: file}, Message: quote(path.Base(file)) + " " + verb(err), Remedy: "correct the file"})
	}
	return text, err == nil
}

// firstLine is the first line that is neither empty nor a comment.
func firstLine(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return ""
}

var (
	leadingVersion = regexp.MustCompile(`^v?(\d+(?:\.\d+)*)(?:$|[-_+]|[a-z])`)
	distroless     = regexp.MustCompile(`^(nodejs|python|java)(\d*)(?:-|$)`)
)

// aliases are images whose name is not that of the runtime they hold. Official images (no registry, no
// organisation) are called what they are; other images are unknown unless they stand here.
func aliases() map[string]string {
	return map[string]string{
		"node": "node", "nodejs": "node", "python": "python", "golang": "go", "go": "go", "ruby": "ruby", "php": "php", "rust": "rust",
		"openjdk": "java", "eclipse-temurin": "java", "amazoncorretto": "java", "java": "java", "aspnet": "dotnet", "dotnet": "dotnet",
		"deno": "deno", "bun": "bun", "elixir": "elixir", "erlang": "erlang",
	}
}

// runtimeOf reads a runtime and its version out of an image's name.
func runtimeOf(image string) Runtime {
	image, _, _ = strings.Cut(image, "@")
	name, tag := image, ""
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		name, tag = image[:i], image[i+1:]
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/"), "library/")
	version := ""
	if m := leadingVersion.FindStringSubmatch(tag); m != nil {
		version = m[1]
	}
	short := path.Base(name)
	if m := distroless.FindStringSubmatch(short); m != nil && strings.Contains(name, "distroless") {
		return Runtime{Name: aliases()[m[1]], Version: m[2]}
	}
	if strings.Contains(name, "dotnet/") {
		short = "dotnet"
	}
	if known, ok := aliases()[short]; ok {
		return Runtime{Name: known, Version: version}
	}
	if strings.Contains(name, "/") || name == "" || name == "scratch" {
		return Runtime{}
	}
	return Runtime{Name: name, Version: version}
}
