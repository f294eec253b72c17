package contract

import (
	containers "container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	tsgo "github.com/microsoft/typescript-go/slowburn"

	"github.com/slowburn/slowburn/slo"
)

// tree is the scanned directory: which files it has, what they import each other by, and the trees of those
// that were parsed last. It is filled by walk and then only read, apart from its caches.
type tree struct {
	dir      string
	maxBytes int64

	files    map[string]bool   // every source and JSON file
	sources  []string          // those that may declare, sorted
	links    map[string]string // symbolic links to places inside the tree
	packages map[string]*manifest
	byName   map[string][]*manifest

	configMu sync.Mutex
	configs  map[string]project

	cacheMu sync.Mutex
	cache   map[string]*containers.Element // of cached
	recent  *containers.List               // the file used last comes first
	size    int

	reportMu sync.Mutex
	findings []slo.Finding
	skipped  map[string]int
}

// cached is a parsed file, or why it can't be parsed.
type cached struct {
	name string
	src  *source
	err  error
}

// maxCached bounds the source text whose trees are kept. A tree takes some thirty times its text.
const maxCached = 2 << 20

func newTree(dir string, maxBytes int64) *tree {
	return &tree{
		dir: dir, maxBytes: maxBytes,
		files: map[string]bool{}, links: map[string]string{},
		packages: map[string]*manifest{}, byName: map[string][]*manifest{},
		configs: map[string]project{}, cache: map[string]*containers.Element{}, recent: containers.New(), skipped: map[string]int{},
	}
}

func (t *tree) report(f slo.Finding) {
	t.reportMu.Lock()
	defer t.reportMu.Unlock()
	t.findings = append(t.findings, f)
}

func (t *tree) skip(reason string) {
	t.reportMu.Lock()
	defer t.reportMu.Unlock()
	t.skipped[reason]++
}

// walk lists the files below the directory. It reads no file but .gitignore and package.json.
func (t *tree) walk(ctx context.Context) error {
	info, err := os.Stat(t.dir)
	if err != nil {
		return fmt.Errorf("scan %s: %w", t.dir, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("scan %s: not a directory", t.dir)
	}
	if err := t.walkDir(ctx, ".", nil); err != nil {
		return fmt.Errorf("scan %s: %w", t.dir, err)
	}
	slices.Sort(t.sources)
	t.readManifests()
	t.dropCompiled()
	return ctx.Err()
}

func (t *tree) walkDir(ctx context.Context, dir string, ignores []ignoreFile) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	entries, err := os.ReadDir(filepath.Join(t.dir, filepath.FromSlash(dir)))
	if err != nil {
		if dir == "." {
			return err
		}
		t.report(fileFinding(ruleUnreadable, dir, reasonOf(err)))
		t.skip("unreadable")
		if len(entries) == 0 {
			return nil
		}
	}
	if i := slices.IndexFunc(entries, func(d fs.DirEntry) bool { return d.Name() == ".gitignore" && d.Type().IsRegular() }); i >= 0 {
		if text, err := t.readPlain(path.Join(dir, ".gitignore")); err == nil {
			ignores = append(ignores[:len(ignores):len(ignores)], parseIgnore(dir, text))
		}
	}
	for _, d := range entries {
		if err := t.walkEntry(ctx, path.Join(dir, d.Name()), d, ignores); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) walkEntry(ctx context.Context, name string, d fs.DirEntry, ignores []ignoreFile) error {
	base := d.Name()
	switch mode := d.Type(); {
	case mode.IsDir():
		if base == "node_modules" || base == ".git" || base == ".yarn" || base == ".hg" || base == ".svn" {
			return nil
		}
		if ignored(ignores, name, true) {
			t.skip("ignored")
			return nil
		}
		return t.walkDir(ctx, name, ignores)
	case mode&fs.ModeSymlink != 0:
		if base != "node_modules" && !ignored(ignores, name, false) {
			t.link(name)
		}
	case !interesting(base):
	case ignored(ignores, name, false):
		t.skip("ignored")
	case mode.IsRegular():
		t.add(name)
	default:
		t.skip("not a regular file")
	}
	return nil
}

// interesting reports whether a file may declare, or be imported by what declares.
func interesting(base string) bool {
	ext := path.Ext(base)
	return slices.Contains(sourceExtensions[:], ext)
}

func isDeclarationFile(name string) bool {
	base := path.Base(name)
	return strings.HasSuffix(base, ".d.ts") || strings.HasSuffix(base, ".d.mts") || strings.HasSuffix(base, ".d.cts") ||
		strings.Contains(base, ".d.") && strings.HasSuffix(base, ".ts")
}

func (t *tree) add(name string) {
	if isDeclarationFile(name) {
		return
	}
	t.files[name] = true
	if !strings.HasSuffix(name, ".json") {
		t.sources = append(t.sources, name)
	}
	if path.Base(name) == "package.json" {
		t.packages[path.Dir(name)] = nil
	}
}

// link notes a symbolic link that stays inside the tree; the file it leads to is scanned where it lies. One
// that leaves the tree is reported and not followed.
func (t *tree) link(name string) {
	full := filepath.Join(t.dir, filepath.FromSlash(name))
	root, err := filepath.EvalSymlinks(t.dir)
	if err != nil {
		return
	}
	to, err := filepath.EvalSymlinks(full)
	if err != nil {
		t.skip("broken link")
		return
	}
	rel, err := filepath.Rel(root, to)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		t.skip("link out of the tree")
		t.report(fileFinding(ruleLink, name, "the link leaves the scanned directory and is not followed"))
		return
	}
	t.skip("link")
	if rel != "." {
		t.links[name] = filepath.ToSlash(rel)
	}
}

func (t *tree) readManifests() {
	for dir := range t.packages {
		file := path.Join(dir, "package.json")
		doc, err := t.readJSON(file)
		if err != nil {
			t.report(fileFinding(ruleConfig, file, err.Error()))
			delete(t.packages, dir)
			continue
		}
		m := readManifest(dir, doc)
		t.packages[dir] = m
		if m.name != "" {
			t.byName[m.name] = append(t.byName[m.name], m)
		}
	}
	for _, named := range t.byName {
		slices.SortFunc(named, func(a, b *manifest) int { return strings.Compare(a.dir, b.dir) })
	}
}

// openOnce is open for a file that is looked at for its own sake. It is not kept: most such files are never
// imported by another that is parsed.
func (t *tree) openOnce(ctx context.Context, name string) (*source, error) {
	if src, ok, err := t.recall(name); ok {
		return src, err
	}
	return t.parse(ctx, name)
}

// open parses a file of the tree, or takes it from the cache.
func (t *tree) open(ctx context.Context, name string) (*source, error) {
	if src, ok, err := t.recall(name); ok {
		return src, err
	}
	src, err := t.parse(ctx, name)
	t.remember(name, src, err)
	return src, err
}

func (t *tree) recall(name string) (src *source, ok bool, err error) {
	t.cacheMu.Lock()
	defer t.cacheMu.Unlock()
	at, ok := t.cache[name]
	if !ok {
		return nil, false, nil
	}
	t.recent.MoveToFront(at)
	c := at.Value.(cached)
	return c.src, true, c.err
}

// remember keeps a parsed file, and drops those used longest ago.
func (t *tree) remember(name string, src *source, err error) {
	t.cacheMu.Lock()
	defer t.cacheMu.Unlock()
	if _, ok := t.cache[name]; ok {
		return
	}
	t.cache[name] = t.recent.PushFront(cached{name, src, err})
	t.size += src.length()
	for t.size > maxCached && t.recent.Len() > 1 {
		oldest := t.recent.Remove(t.recent.Back()).(cached)
		t.size -= oldest.src.length()
		delete(t.cache, oldest.name)
	}
}

func (t *tree) parse(ctx context.Context, name string) (*source, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, err := t.readText(name)
	if err != nil {
		return nil, err
	}
	if err := prescan(text); err != nil {
		return nil, err
	}
	return newSource(name, text), nil
}

// readJSON reads a JSON file as TypeScript's own tools do: comments and trailing commas are let through.
func (t *tree) readJSON(name string) (any, error) {
	text, err := t.readText(name)
	if err != nil {
		return nil, err
	}
	if err := prescan(text); err != nil {
		return nil, err
	}
	src := newSource(name, text)
	if faults := tsgo.Faults(src.file); len(faults) > 0 {
		f := fileFinding(ruleConfig, name, "the file is no sound JSON: "+faults[0].Message)
		f.Pos = src.position(min(faults[0].Pos, len(text)))
		t.report(f)
	}
	statements := src.file.Statements.Nodes
	if len(statements) == 0 {
		return nil, errors.New("the file is empty")
	}
	return literal(statements[0].Expression()), nil
}

// literal turns a JSON tree into the values of encoding/json.
func literal(n *tsgo.Node) any {
	switch n.Kind {
	case tsgo.KindObjectLiteralExpression:
		m := map[string]any{}
		for _, p := range n.Properties() {
			if p.Kind == tsgo.KindPropertyAssignment {
				m[nameOf(p)] = literal(p.Initializer())
			}
		}
		return m
	case tsgo.KindArrayLiteralExpression:
		all := []any{}
		for _, item := range n.Elements() {
			all = append(all, literal(item))
		}
		return all
	case tsgo.KindStringLiteral:
		return n.Text()
	case tsgo.KindTrueKeyword, tsgo.KindFalseKeyword:
		return n.Kind == tsgo.KindTrueKeyword
	}
	return nil
}
