package contract

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// target is where a module specifier leads: a file of the tree; nowhere, with the reason; or, where both are
// empty, a package outside the tree.
type target struct{ path, why string }

// resolve finds the file that an import of spec in the file from means.
func (t *tree) resolve(from, spec string) target {
	dir := path.Dir(from)
	switch {
	case spec == "":
		return target{why: "the module it names is not constant"}
	case spec == "." || spec == ".." || strings.HasPrefix(spec, "./") || strings.HasPrefix(spec, "../"):
		joined := path.Join(dir, spec)
		if joined == ".." || strings.HasPrefix(joined, "../") {
			return target{why: fmt.Sprintf("%s lies outside the scanned directory", spec)}
		}
		if file, ok := t.file(joined); ok {
			return target{path: file}
		}
		return target{why: fmt.Sprintf("no file of the tree is %s", spec)}
	case strings.HasPrefix(spec, "#"):
		if file, ok := t.packageImport(dir, spec); ok {
			return target{path: file}
		}
	}
	if file, ok := t.mapped(dir, spec); ok {
		return target{path: file}
	}
	return t.packageFile(spec)
}

// sourceExtensions are tried in this order for a specifier that has none.
var sourceExtensions = [...]string{".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs", ".json"}

// file finds the file that a specifier without or with an extension names: itself, the source a .js stands
// for, or the index of a folder.
func (t *tree) file(name string) (string, bool) {
	name = t.follow(name)
	if file, ok := t.plainFile(name); ok {
		return file, true
	}
	if p, ok := t.packages[name]; ok {
		if file, ok := t.entry(p, "."); ok {
			return file, true
		}
	}
	return t.plainFile(path.Join(name, "index"))
}

func (t *tree) plainFile(name string) (string, bool) {
	written := map[string][]string{".js": {".ts", ".tsx"}, ".jsx": {".tsx"}, ".mjs": {".mts"}, ".cjs": {".cts"}}
	ext := path.Ext(name)
	for _, source := range written[ext] {
		if candidate := strings.TrimSuffix(name, ext) + source; t.files[candidate] {
			return candidate, true
		}
	}
	if t.files[name] {
		return name, true
	}
	for _, ext := range sourceExtensions {
		if t.files[name+ext] {
			return name + ext, true
		}
	}
	return "", false
}

// follow replaces the links that stay inside the tree by what they point to.
func (t *tree) follow(name string) string {
	for range 8 {
		before := name
		for link, to := range t.links {
			if name == link || strings.HasPrefix(name, link+"/") {
				name = path.Join(to, strings.TrimPrefix(name, link))
			}
		}
		if name == before {
			break
		}
	}
	return name
}

// packageFile finds a file of a workspace package by the package's name.
func (t *tree) packageFile(spec string) target {
	name, subpath := packageName(spec)
	named := t.byName[name]
	switch len(named) {
	case 0:
		return target{}
	case 1:
	default:
		return target{why: fmt.Sprintf("%d packages of the tree are named %s: %s and %s", len(named), name, named[0].dir, named[1].dir)}
	}
	if file, ok := t.entry(named[0], subpath); ok {
		return target{path: file}
	}
	return target{why: fmt.Sprintf("package %s in %s has no source for %s", name, named[0].dir, spec)}
}

// packageName splits @acme/slo/tiers into the package's name and ./tiers.
func packageName(spec string) (name, subpath string) {
	parts := strings.SplitN(spec, "/", 3)
	n := 1
	if strings.HasPrefix(spec, "@") {
		n = 2
	}
	if len(parts) <= n {
		return spec, "."
	}
	name = strings.Join(parts[:n], "/")
	return name, "." + strings.TrimPrefix(spec, name)
}

// entry finds the source behind a package's subpath: what exports, main and types name is mostly built, and
// built files are not in the tree; the source that they are built from is.
func (t *tree) entry(p *manifest, subpath string) (string, bool) {
	for _, built := range p.targets(subpath) {
		if file, ok := t.sourceOf(p.dir, built); ok {
			return file, true
		}
	}
	inner := strings.TrimPrefix(strings.TrimPrefix(subpath, "."), "/")
	if inner == "" {
		inner = "index"
	}
	for _, folder := range []string{"", "src", "source", "lib"} {
		for _, name := range []string{inner, path.Join(inner, "index")} {
			if file, ok := t.plainFile(t.follow(path.Join(p.dir, folder, name))); ok {
				return file, true
			}
		}
	}
	return "", false
}

// sourceOf finds the source of a built file: dist/esm/tiers.d.ts comes from src/tiers.ts.
func (t *tree) sourceOf(dir, built string) (string, bool) {
	built = path.Clean(strings.TrimPrefix(built, "./"))
	if strings.HasPrefix(built, "../") {
		return "", false
	}
	plain := built
	for _, ext := range []string{".d.ts", ".d.mts", ".d.cts", ".js", ".mjs", ".cjs", ".jsx"} {
		if s, ok := strings.CutSuffix(built, ext); ok {
			plain = s
			break
		}
	}
	segments := strings.Split(plain, "/")
	outputs := []string{"dist", "build", "lib", "out", "output", "esm", "cjs", "es", "types", "typings", "mjs"}
	first := 0
	for first < len(segments)-1 && slices.Contains(outputs, segments[first]) {
		first++
	}
	rest := path.Join(segments[first:]...)
	var candidates []string
	if first > 0 {
		candidates = append(candidates, path.Join("src", rest), rest, path.Join("source", rest))
		if segments[0] != "lib" {
			candidates = append(candidates, path.Join("lib", rest))
		}
	}
	candidates = append(candidates, built, plain, path.Join("src", plain))
	for _, c := range candidates {
		if file, ok := t.plainFile(t.follow(path.Join(dir, c))); ok && !strings.Contains(path.Base(file), ".d.") {
			return file, true
		}
	}
	return "", false
}
