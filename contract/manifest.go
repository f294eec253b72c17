package contract

import (
	"path"
	"slices"
	"strings"
)

// manifest is what a package.json says of the package in dir.
type manifest struct {
	dir     string
	name    string
	exports any
	imports map[string]any
	mains   []string
}

func readManifest(dir string, doc any) *manifest {
	fields, _ := doc.(map[string]any)
	m := &manifest{dir: dir, exports: fields["exports"]}
	m.name, _ = fields["name"].(string)
	m.imports, _ = fields["imports"].(map[string]any)
	for _, key := range []string{"source", "types", "typings", "module", "main"} {
		if s, ok := fields[key].(string); ok {
			m.mains = append(m.mains, s)
		}
	}
	return m
}

// targets lists the files that a subpath of the package may mean, best first.
func (m *manifest) targets(subpath string) []string {
	var all []string
	switch e := m.exports.(type) {
	case map[string]any:
		if !slices.ContainsFunc(sortedKeys(e), func(k string) bool { return strings.HasPrefix(k, ".") }) {
			e = map[string]any{".": e} // conditions alone are about the package itself
		}
		all = matchPattern(e, subpath)
	case string, []any:
		if subpath == "." {
			all = conditions(e, "")
		}
	}
	if subpath == "." {
		all = append(all, m.mains...)
	}
	return all
}

// matchPattern finds the targets of a subpath in an exports or imports table, patterns with * included. The
// longest pattern wins.
func matchPattern(table map[string]any, subpath string) []string {
	if exact, ok := table[subpath]; ok {
		return conditions(exact, "")
	}
	keys := sortedKeys(table)
	slices.SortStableFunc(keys, func(a, b string) int { return len(b) - len(a) })
	for _, key := range keys {
		if star, ok := matchStar(key, subpath); ok {
			return conditions(table[key], star)
		}
	}
	return nil
}

// matchStar matches a pattern with at most one star and gives what the star stands for.
func matchStar(pattern, s string) (string, bool) {
	before, after, ok := strings.Cut(pattern, "*")
	if !ok || len(s) < len(before)+len(after) || !strings.HasPrefix(s, before) || !strings.HasSuffix(s, after) {
		return "", false
	}
	return s[len(before) : len(s)-len(after)], true
}

// conditions lists every file that a conditional target may mean; what names the source comes first.
func conditions(target any, star string) []string {
	switch t := target.(type) {
	case string:
		return []string{strings.ReplaceAll(t, "*", star)}
	case []any:
		var all []string
		for _, item := range t {
			all = append(all, conditions(item, star)...)
		}
		return all
	case map[string]any:
		rank := map[string]int{"source": 0, "development": 1, "import": 2, "node": 3, "require": 4, "default": 5, "types": 6}
		keys := sortedKeys(t)
		slices.SortStableFunc(keys, func(a, b string) int { return rankOf(rank, a) - rankOf(rank, b) })
		var all []string
		for _, key := range keys {
			all = append(all, conditions(t[key], star)...)
		}
		return all
	}
	return nil
}

func rankOf(rank map[string]int, key string) int {
	if r, ok := rank[key]; ok {
		return r
	}
	return len(rank)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// packageImport resolves #config by the imports table of the nearest package.json.
func (t *tree) packageImport(dir, spec string) (string, bool) {
	m := t.manifestOf(dir)
	if m == nil {
		return "", false
	}
	for _, to := range matchPattern(m.imports, spec) {
		if file, ok := t.sourceOf(m.dir, to); ok && strings.HasPrefix(to, "./") {
			return file, true
		}
	}
	return "", false
}

// manifestOf is the nearest package.json at or above a folder.
func (t *tree) manifestOf(dir string) *manifest {
	for ; ; dir = path.Dir(dir) {
		if m, ok := t.packages[dir]; ok {
			return m
		}
		if dir == "." {
			return nil
		}
	}
}

// packageOf is the name of the nearest package that has one.
func (t *tree) packageOf(dir string) string {
	for ; ; dir = path.Dir(dir) {
		if m, ok := t.packages[dir]; ok && m.name != "" {
			return m.name
		}
		if dir == "." {
			return ""
		}
	}
}
