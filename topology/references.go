package topology

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v4"

	"github.com/slowburn/slowburn/slo"
)

// maxFiles bounds how many Compose files a project may pull in.
const maxFiles = 200

// scan is the state of one Scan.
type scan struct {
	root       root
	env        map[string]string
	findings   []slo.Finding
	docs       map[string]*document // by relative path, in every spelling of one file the same
	order      []*document          // as read: the given files, then what each pulls in
	approved   map[string]bool      // spellings of references that compose-go may follow
	followed   map[string]bool      // included files, with the base they were read from
	incomplete bool                 // an include was cut: what it declares is missing
	spent      int                  // on loads, in the units of cost
	main       string               // the project directory, absolute
}

// within says where a file is read from: the directory its references start at, and its variables.
type within struct {
	base  string // absolute
	env   map[string]string
	chain []string // the files that lead here, for include cycles
}

// open reads and judges a Compose file once. A nil document means that a finding says why not.
func (s *scan) open(name string, from slo.Position) *document {
	rel, _ := s.root.rel(name)
	if d, seen := s.docs[rel]; seen && rel != "" {
		return d
	}
	if len(s.docs) >= maxFiles {
		s.report(slo.Finding{Rule: ruleUnreadable, Pos: from, Message: fmt.Sprintf("more than %d Compose files", maxFiles), Remedy: "scan a smaller project"})
		return nil
	}
	text, err := s.root.read(name)
	if err != nil {
		s.unreadable(from, name, err)
		return nil
	}
	d := s.parse(rel, text)
	s.docs[rel] = d
	s.order = append(s.order, d)
	return d
}

// unreadable reports a file that is named at from and can't be read. With no place that names it, the place
// is the file.
func (s *scan) unreadable(from slo.Position, name string, err error) {
	rule, remedy := ruleUnreadable, "correct the name or the file"
	switch {
	case errors.Is(err, errOutside):
		rule, remedy = ruleOutside, "move it inside, or scan the directory that holds both"
	case errors.Is(err, fs.ErrPermission):
		remedy = "grant read permission"
	}
	name = s.shown(name)
	message := quote(name) + " " + verb(err)
	if from.File == "" {
		from = slo.Position{File: name}
		message = "Compose file " + verb(err)
	}
	s.report(slo.Finding{Rule: rule, Pos: from, Message: message, Remedy: remedy})
}

// verb turns a system error into the rest of a sentence that begins with the file's name.
func verb(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read"
	}
	return err.Error()
}

// follow checks what a document refers to, and what that refers to: nothing outside is read, here or by
// compose-go, which is handed only what was approved here.
func (s *scan) follow(d *document, w within) {
	s.variables(d, w.env)
	w.chain = append(slices.Clone(w.chain), d.file)
	for _, tree := range d.trees {
		include := find(tree, "include").value
		for _, entry := range items(include) {
			if !s.include(d, entry, w) {
				s.incomplete = true
				s.cut(d, occurrence{d, include, entry})
			}
		}
		for _, service := range pairs(find(tree, "services").value) {
			if !s.extend(d, service, w, map[string]bool{}) {
				s.cut(d, occurrence{d, service.value, find(service.value, "extends").value})
			}
		}
	}
}

// cut takes a reference that may not be followed out of its document, so that the rest can be looked at.
func (s *scan) cut(d *document, o occurrence) {
	kept := o.without()
	if len(kept) == len(o.parent.Content) {
		d.broken = true // it came by a merge key, or stands where a list should be
		return
	}
	o.parent.Content, d.mended = kept, true
}

// include follows one entry of include: a path, or a mapping with paths, a project directory and env files.
// It reports false when any of it may not be followed.
func (s *scan) include(d *document, entry *yaml.Node, w within) bool {
	paths, inner, ok := []*yaml.Node{entry}, within{env: w.env, chain: w.chain}, true
	if entry.Kind == yaml.MappingNode {
		paths = items(find(entry, "path").value)
	}
	for i, p := range paths {
		abs, fine := s.approve(d, p, w)
		if ok = ok && fine; !fine {
			continue
		}
		if i == 0 {
			var here, vars bool
			inner.base, here = s.projectDirectory(d, entry, w, filepath.Dir(abs))
			inner.env, vars = s.includedEnv(d, entry, w, inner.base)
			ok = ok && here && vars
		}
		ok = s.enter(d, p, abs, inner) && ok
	}
	return ok
}

// enter goes on with an included file unless it leads back to itself.
func (s *scan) enter(d *document, p *yaml.Node, abs string, inner within) bool {
	rel, _ := s.root.rel(abs)
	if slices.Contains(inner.chain, rel) {
		s.report(slo.Finding{Rule: ruleCompose, Pos: d.position(p), Remedy: "break the cycle",
			Message: "include cycle: " + strings.Join(append(inner.chain, rel), " includes ")})
		return false
	}
	next := s.open(abs, d.position(p))
	if next == nil {
		return false
	}
	if key := rel + "\x00" + inner.base; !s.followed[key] {
		s.followed[key] = true
		s.follow(next, inner)
	}
	return true
}

// projectDirectory is where an included file's paths begin: beside it, unless the entry says otherwise.
func (s *scan) projectDirectory(d *document, entry *yaml.Node, w within, beside string) (string, bool) {
	n := find(entry, "project_directory").value
	if n == nil || n.Value == "" {
		return beside, true
	}
	dir := s.resolved(n, w)
	if _, _, err := s.root.locate(dir); err != nil {
		s.unreadable(d.position(n), dir, err)
		return beside, false
	}
	return dir, s.direct(d, n, w)
}

// direct refuses what compose-go resolves against the current directory instead of the including file: paths
// other than `path` in an include inside an included file.
func (s *scan) direct(d *document, n *yaml.Node, w within) bool {
	if len(w.chain) < 2 || filepath.IsAbs(n.Value) {
		return true
	}
	s.report(slo.Finding{Rule: ruleCompose, Pos: d.position(n), Remedy: "move this include to the outermost Compose file",
		Message: "Compose reads this path from the current directory, since the file is itself included"})
	return false
}

// includedEnv is the environment of an included file: its env files, else the .env beside it, under ours.
func (s *scan) includedEnv(d *document, entry *yaml.Node, w within, base string) (env map[string]string, ok bool) {
	env, ok = map[string]string{}, true
	files := items(find(entry, "env_file").value)
	if len(files) == 0 {
		env, ok = s.dotenv(filepath.Join(base, ".env"), w.env)
	}
	for _, n := range files {
		if n.Value == "/dev/null" {
			continue
		}
		file := s.resolved(n, w)
		text, err := s.root.read(file)
		if err != nil {
			s.unreadable(d.position(n), file, err)
			ok = false
			continue
		}
		vars, fine := s.parseEnv(file, text, w.env)
		ok = ok && fine && s.direct(d, n, w)
		maps.Copy(env, vars)
	}
	maps.Copy(env, w.env)
	return env, ok
}

// extend follows a service's extends into another file, and on from there. It reports false when it may not
// be followed.
func (s *scan) extend(d *document, service pair, w within, seen map[string]bool) bool {
	extends := find(service.value, "extends").value
	file, name := find(extends, "file").value, find(extends, "service").value
	if file == nil || seen[d.file+"\x00"+service.key.Value] {
		return true
	}
	seen[d.file+"\x00"+service.key.Value] = true
	abs, ok := s.approve(d, file, w)
	if !ok {
		return false
	}
	next := s.open(abs, d.position(file))
	if next == nil {
		return false
	}
	s.variables(next, w.env)
	for _, tree := range next.trees {
		for _, base := range pairs(find(tree, "services").value) {
			if name != nil && base.key.Value == s.expand(name.Value, w.env) {
				ok = s.extend(next, base, within{base: filepath.Dir(abs), env: w.env}, seen) && ok
			}
		}
	}
	return ok
}

// approve resolves a reference and lets compose-go follow it if it is inside. It is remembered in each
// spelling that compose-go may use.
func (s *scan) approve(d *document, n *yaml.Node, w within) (string, bool) {
	raw := s.expand(n.Value, w.env)
	if remote(raw) {
		s.report(slo.Finding{Rule: ruleOutside, Pos: d.position(n), Message: quote(raw) + " is remote, and nothing is fetched", Remedy: "keep a copy in the directory"})
		return "", false
	}
	abs := s.resolved(n, w)
	if _, _, err := s.root.locate(abs); err != nil {
		s.unreadable(d.position(n), raw, err)
		return "", false
	}
	s.approved[raw], s.approved[abs] = true, true
	if rel, err := filepath.Rel(s.main, abs); err == nil {
		s.approved[rel] = true
	}
	return abs, true
}

// remote tells what Compose would fetch: Git, HTTP or OCI.
func remote(path string) bool {
	return strings.Contains(path, "://") || strings.HasPrefix(path, "git@") || strings.HasPrefix(path, "github.com/") || strings.HasPrefix(path, "oci:")
}

func (s *scan) resolved(n *yaml.Node, w within) string {
	path := s.expand(n.Value, w.env)
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(w.base, path)
}

// expand interpolates without complaint: variables reports what is wrong.
func (s *scan) expand(text string, env map[string]string) string {
	out, err := substitute(text, env)
	if err != nil {
		return text
	}
	return out
}

func substitute(text string, env map[string]string) (string, error) {
	return template.SubstituteWithOptions(text, func(k string) (string, bool) { v, ok := env[k]; return v, ok }, template.WithoutLogging)
}

// maxHoles bounds how many variables one value may hold: upstream's expansion of nested defaults is
// quadratic and worse.
const maxHoles = 64

// variables reports every value whose interpolation fails, and every variable that reads as empty.
func (s *scan) variables(d *document, env map[string]string) {
	if d.broken || d.expanded {
		return
	}
	d.expanded = true
	unset := map[string]bool{}
	for _, tree := range d.trees {
		s.holes(d, tree, env, unset)
	}
}

func (s *scan) holes(d *document, n *yaml.Node, env map[string]string, unset map[string]bool) {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		if c.Kind == yaml.ScalarNode && strings.Contains(c.Value, "$") {
			s.hole(d, c, env, unset)
			continue
		}
		s.holes(d, c, env, unset)
	}
}

func (s *scan) hole(d *document, n *yaml.Node, env map[string]string, unset map[string]bool) {
	if strings.Count(n.Value, "$") > maxHoles && strings.Contains(n.Value, "${") {
		s.malformed(d, d.position(n), fmt.Sprintf("value with more than %d variables", maxHoles), "shorten it")
		return
	}
	if _, err := substitute(n.Value, env); err != nil {
		s.report(slo.Finding{Rule: ruleRequired, Pos: d.position(n), Message: requirement(n.Value, err), Remedy: "set it in the environment or in .env; a literal dollar is written $$"})
		d.mended = true
		n.Value, n.Tag, n.Style = "1", "!!str", yaml.DoubleQuotedStyle
		return
	}
	for name := range template.ExtractVariables(map[string]any{"": n.Value}, nil) {
		if _, set := env[name]; !set && !unset[name] && bare(n.Value, name) {
			unset[name] = true
			s.report(slo.Finding{Rule: ruleUnset, Severity: slo.Warning, Pos: d.position(n),
				Message: "variable " + name + " is not set and reads as empty", Remedy: "set it in the environment or in .env, or write ${" + name + ":-default}"})
		}
	}
}

func requirement(text string, err error) string {
	if missing, ok := errors.AsType[*template.MissingRequiredError](err); ok {
		return missing.Error()
	}
	return quote(text) + " is not a valid interpolation"
}

// bare reports whether text uses the variable without a default: $X or ${X}.
func bare(text, name string) bool {
	if strings.Contains(text, "${"+name+"}") {
		return true
	}
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "$"+name)
		if !found {
			return false
		}
		if after == "" || !strings.ContainsAny(after[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") {
			return true
		}
		rest = after
	}
}

// dotenv reads an env file that need not exist.
func (s *scan) dotenv(name string, env map[string]string) (map[string]string, bool) {
	text, err := s.root.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, true
	}
	if err != nil {
		s.unreadable(slo.Position{File: s.shown(name)}, name, err)
		return map[string]string{}, false
	}
	return s.parseEnv(name, text, env)
}

func (s *scan) parseEnv(name string, text []byte, env map[string]string) (map[string]string, bool) {
	vars, err := dotenv.ParseWithLookup(bytes.NewReader(text), func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	if err != nil {
		s.report(slo.Finding{Rule: ruleUnreadable, Pos: slo.Position{File: s.shown(name)}, Message: "env file: " + err.Error(), Remedy: "write one NAME=value a line"})
		return map[string]string{}, false
	}
	return vars, true
}

// shown is a path as findings print it: relative to the directory, unless it is far from it.
func (s *scan) shown(name string) string {
	rel, err := filepath.Rel(s.root.dir, s.root.abs(name))
	if err != nil || strings.HasPrefix(filepath.ToSlash(rel), "../../../") {
		return filepath.ToSlash(name)
	}
	return filepath.ToSlash(rel)
}
