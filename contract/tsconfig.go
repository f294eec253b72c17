package contract

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// project is what a tsconfig.json says of module names: the paths table, and the folders it is relative to.
type project struct {
	base     string // of baseUrl; empty if there is none
	paths    map[string]any
	pathsDir string
	refs     []string
	out      string // of outDir; empty if there is none
}

// maxExtends bounds a chain of tsconfig files that extend each other.
const maxExtends = 16

// mapped resolves a specifier by the paths and the baseUrl of the nearest tsconfig.json. A config that only
// refers to others speaks through them.
func (t *tree) mapped(dir, spec string) (string, bool) {
	config, ok := t.nearestConfig(dir)
	if !ok {
		return "", false
	}
	p := t.project(config, maxExtends)
	if file, ok := t.byProject(p, spec); ok {
		return file, true
	}
	for _, ref := range p.refs {
		if file, ok := t.byProject(t.project(ref, maxExtends), spec); ok {
			return file, true
		}
	}
	return "", false
}

func (t *tree) nearestConfig(dir string) (string, bool) {
	for ; ; dir = path.Dir(dir) {
		for _, name := range []string{"tsconfig.json", "jsconfig.json"} {
			if file := path.Join(dir, name); t.files[file] {
				return file, true
			}
		}
		if dir == "." {
			return "", false
		}
	}
}

func (t *tree) byProject(p project, spec string) (string, bool) {
	for _, to := range matchPattern(p.paths, spec) {
		if file, ok := t.file(path.Join(p.pathsDir, to)); ok {
			return file, true
		}
	}
	if p.base != "" {
		return t.file(path.Join(p.base, spec))
	}
	return "", false
}

// project reads a tsconfig file and those it extends, once each.
func (t *tree) project(file string, depth int) project {
	t.configMu.Lock()
	known, ok := t.configs[file]
	t.configMu.Unlock()
	if ok || depth == 0 {
		return known
	}
	p := t.readProject(file, depth)
	t.configMu.Lock()
	t.configs[file] = p
	t.configMu.Unlock()
	return p
}

func (t *tree) readProject(file string, depth int) project {
	doc, err := t.readJSON(file)
	if err != nil {
		t.report(fileFinding(ruleConfig, file, err.Error()))
		return project{}
	}
	fields, _ := doc.(map[string]any)
	dir := path.Dir(file)
	var p project
	for _, parent := range stringsIn(fields["extends"]) {
		if extended, ok := t.extended(dir, parent); ok {
			p = p.overlaid(t.project(extended, depth-1))
		}
	}
	p.refs = nil
	options, _ := fields["compilerOptions"].(map[string]any)
	own := project{}
	if base, ok := options["baseUrl"].(string); ok {
		own.base = path.Join(dir, strings.ReplaceAll(base, "${configDir}", "."))
	}
	if out, ok := options["outDir"].(string); ok {
		own.out = path.Join(dir, strings.ReplaceAll(out, "${configDir}", "."))
	}
	if paths, ok := options["paths"].(map[string]any); ok {
		own.paths, own.pathsDir = paths, dir
		if base := firstOf(own.base, p.base); base != "" {
			own.pathsDir = base
		}
	}
	p = p.overlaid(own)
	refs, _ := fields["references"].([]any)
	for _, r := range refs {
		entry, _ := r.(map[string]any)
		if to, ok := entry["path"].(string); ok {
			p.refs = append(p.refs, t.configFile(path.Join(dir, to))...)
		}
	}
	return p
}

func (p project) overlaid(over project) project {
	if over.base != "" {
		p.base = over.base
	}
	if over.paths != nil {
		p.paths, p.pathsDir = over.paths, over.pathsDir
	}
	if over.out != "" {
		p.out = over.out
	}
	return p
}

// dropCompiled leaves out what the compiler made of other sources, which would declare everything twice: JavaScript
// below the outDir of some tsconfig file, or beside the TypeScript of the same name. Imports still find it.
func (t *tree) dropCompiled() {
	if !slices.ContainsFunc(t.sources, isJavaScript) {
		return
	}
	outs := t.outDirs()
	t.sources = slices.DeleteFunc(t.sources, func(name string) bool {
		if !isJavaScript(name) || !t.besideItsSource(name) && !slices.ContainsFunc(outs, func(out string) bool { return below(name, out) }) {
			return false
		}
		t.skip("compiled")
		return true
	})
}

// outDirs lists the folders that only compiled files are in. One that holds its own tsconfig file is not such a folder.
func (t *tree) outDirs() []string {
	var outs []string
	for _, file := range slices.Sorted(maps.Keys(t.files)) {
		base := path.Base(file)
		if !strings.HasPrefix(base, "tsconfig") || path.Ext(base) != ".json" {
			continue
		}
		if out := t.project(file, maxExtends).out; out != "" && out != "." && !below(file, out) {
			outs = append(outs, out)
		}
	}
	return outs
}

func (t *tree) besideItsSource(name string) bool {
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	from := map[string][]string{".js": {".ts", ".tsx"}, ".jsx": {".tsx"}, ".mjs": {".mts"}, ".cjs": {".cts"}}
	return slices.ContainsFunc(from[ext], func(source string) bool { return t.files[stem+source] })
}

func below(name, dir string) bool { return strings.HasPrefix(name, dir+"/") }

func (t *tree) configFile(name string) []string {
	for _, candidate := range []string{name, name + ".json", path.Join(name, "tsconfig.json")} {
		if t.files[candidate] {
			return []string{candidate}
		}
	}
	return nil
}

// extended finds the config that extends names: a file, or one of a workspace package.
func (t *tree) extended(dir, spec string) (string, bool) {
	if strings.HasPrefix(spec, ".") {
		found := t.configFile(path.Join(dir, spec))
		return firstOf(found...), len(found) > 0
	}
	name, subpath := packageName(spec)
	if named := t.byName[name]; len(named) == 1 {
		found := t.configFile(path.Join(named[0].dir, subpath))
		return firstOf(found...), len(found) > 0
	}
	return "", false
}

func stringsIn(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, item := range v {
			all = append(all, stringsIn(item)...)
		}
		return all
	}
	return nil
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
