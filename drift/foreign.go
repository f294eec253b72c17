package drift

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

// File is one file of another tool. Name is how its positions are spelled. Err says why Content is not there.
type File struct {
	Name    string
	Content []byte
	Err     error
}

// Bounds on what other tools' files may hold: an export of a large Datadog organisation is a few megabytes.
const (
	maxForeignFile  = 16 << 20
	maxForeignTotal = 64 << 20
	maxForeignFiles = 10_000
	maxForeignDepth = 100
	maxForeignNodes = 2_000_000
	maxSpecNodes    = 50_000 // of a YAML document once its aliases are written out
)

// readForeign reads a regular file of bounded size. Of a larger one it gives the begin, with the error.
func readForeign(tree fs.FS, name string, bound int64) File {
	f := File{Name: name}
	info, err := fs.Stat(tree, name)
	switch {
	case err != nil:
		f.Err = plainPath(err)
		return f
	case !info.Mode().IsRegular():
		f.Err = fmt.Errorf("is not a regular file (%s)", info.Mode().Type())
		return f
	}
	open, err := tree.Open(name)
	if err != nil {
		f.Err = plainPath(err)
		return f
	}
	defer open.Close()
	f.Content, err = io.ReadAll(io.LimitReader(open, bound+1))
	if err != nil {
		f.Err = plainPath(err)
	}
	if int64(len(f.Content)) > bound {
		f.Err = fmt.Errorf("is larger than %d MiB", bound>>20) // its begin may tell what it is
	}
	return f
}

// readTree reads the files of a tree that are wanted by name and, where keep is given, by content. Links are
// not followed; what lies beyond the bounds is an Err of its own.
func readTree(tree fs.FS, bound int64, wanted func(string) bool, keep func([]byte) bool) []File {
	var files []File
	var total int64
	seen := 0
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			files = append(files, File{Name: name, Err: plainPath(err)})
			return nil
		case entry.IsDir() && hiddenFolder(name):
			return fs.SkipDir
		case !entry.Type().IsRegular() || !wanted(name):
			return nil
		}
		if seen++; seen > maxForeignFiles || total > maxForeignTotal {
			files = append(files, File{Name: name, Err: fmt.Errorf("and what follows is not read: more than %d files or %d MiB", maxForeignFiles, maxForeignTotal>>20)})
			return fs.SkipAll
		}
		f := readForeign(tree, name, bound)
		if keep != nil && f.Content != nil && !keep(f.Content) {
			return nil
		}
		total += int64(len(f.Content))
		if f.Err != nil {
			f.Content = nil
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		files = append(files, File{Name: ".", Err: plainPath(err)})
	}
	return files
}

// plainPath drops the path from an error, since a finding names it already.
func plainPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// node is a value of a JSON or YAML file with the place where it stands. A nil node is what is not there:
// every method works on it.
type node struct {
	kind   nodeKind
	text   string // of a scalar
	keys   []string
	values []*node // of a mapping, beside keys; of a list
	pos    slo.Position
}

type nodeKind int

const (
	nullNode nodeKind = iota
	textNode
	numberNode
	boolNode
	listNode
	mappingNode
)

// get walks down mappings; what is not there is nil.
func (n *node) get(keys ...string) *node {
	for _, key := range keys {
		if n == nil || n.kind != mappingNode {
			return nil
		}
		at := slices.Index(n.keys, key)
		if at < 0 {
			return nil
		}
		n = n.values[at]
	}
	if n != nil && n.kind == nullNode {
		return nil
	}
	return n
}

// items are a list's; nothing of what is no list.
func (n *node) items() []*node {
	if n == nil || n.kind != listNode {
		return nil
	}
	return n.values
}

// str is the text of a scalar.
func (n *node) str() string {
	if n == nil || n.kind == listNode || n.kind == mappingNode {
		return ""
	}
	return n.text
}

// strings are the scalars of a list, or the one that stands in its place.
func (n *node) strings() []string {
	var all []string
	for _, item := range n.items() {
		all = append(all, item.str())
	}
	if s := n.str(); s != "" {
		all = append(all, s)
	}
	return all
}

// number is a finite number, also one that is written as text, as some exports do.
func (n *node) number() (float64, bool) {
	if n == nil || n.kind != numberNode && n.kind != textNode {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(n.text), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

func (n *node) truth() bool { return n != nil && n.kind == boolNode && n.text == "true" }

// at is the node's place, or the fallback's where the node is not there.
func (n *node) at(fallback *node) slo.Position {
	switch {
	case n != nil:
		return n.pos
	case fallback != nil:
		return fallback.pos
	}
	return slo.Position{}
}

// or is the node where it is there, else the fallback.
func (n *node) or(fallback *node) *node {
	if n != nil {
		return n
	}
	return fallback
}

// places turns offsets into lines and columns.
type places struct {
	file  string
	text  []byte
	lines []int // offset of each line's begin

	last, column int // the last offset asked for, and its column: an export is often one long line
}

func newPlaces(file string, text []byte) *places {
	p := &places{file: file, text: text, lines: []int{0}, column: 1}
	for i, c := range text {
		if c == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	return p
}

func (p *places) at(offset int) slo.Position {
	offset = min(offset, len(p.text))
	line, found := slices.BinarySearch(p.lines, offset)
	if !found {
		line--
	}
	if p.last < p.lines[line] || p.last > offset {
		p.last, p.column = p.lines[line], 1
	}
	p.column += utf8.RuneCount(p.text[p.last:offset])
	p.last = offset
	return slo.Position{File: p.file, Line: line + 1, Col: p.column}
}

// jsonReader makes nodes of JSON tokens.
type jsonReader struct {
	*json.Decoder
	places *places
	nodes  int
}

// parseJSON reads one JSON value and refuses what follows it. The position is that of the fault.
func parseJSON(file string, text []byte) (*node, slo.Position, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	r := &jsonReader{Decoder: json.NewDecoder(bytes.NewReader(text)), places: newPlaces(file, text)}
	r.UseNumber()
	n, err := r.value(0)
	if err == nil {
		if _, more := r.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more follows the JSON value")
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the file ends before its JSON does")
	}
	if err != nil {
		return nil, r.places.at(int(r.InputOffset())), err
	}
	return n, slo.Position{}, nil
}

func (r *jsonReader) value(depth int) (*node, error) {
	if r.nodes++; r.nodes > maxForeignNodes {
		return nil, fmt.Errorf("holds more than %d values", maxForeignNodes)
	}
	if depth > maxForeignDepth {
		return nil, fmt.Errorf("nests deeper than %d levels", maxForeignDepth)
	}
	begin := r.begin()
	token, err := r.Token()
	if err != nil {
		return nil, err
	}
	n := &node{pos: r.places.at(begin)}
	switch t := token.(type) {
	case json.Delim:
		return n, r.inside(n, t, depth)
	case string:
		n.kind, n.text = textNode, t
	case json.Number:
		n.kind, n.text = numberNode, t.String()
	case bool:
		n.kind, n.text = boolNode, strconv.FormatBool(t)
	}
	return n, nil
}

// begin is where the next value starts: the decoder's offset is the end of the last token.
func (r *jsonReader) begin() int {
	at := int(r.InputOffset())
	for at < len(r.places.text) && strings.IndexByte(" \t\r\n,:", r.places.text[at]) >= 0 {
		at++
	}
	return at
}

func (r *jsonReader) inside(n *node, open json.Delim, depth int) error {
	n.kind = listNode
	if open == '{' {
		n.kind = mappingNode
	}
	for r.More() {
		if open == '{' {
			key, err := r.Token()
			if err != nil {
				return err
			}
			n.keys = append(n.keys, fmt.Sprint(key))
		}
		value, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.values = append(n.values, value)
	}
	_, err := r.Token()
	return err
}

// parseYAML reads the documents of a YAML file. Those before a fault are given with it.
func parseYAML(file string, text []byte) (documents []*node, fault error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return documents, err
		}
		c := yamlReader{file: file}
		n, err := c.value(&doc, 0)
		if err != nil {
			return documents, err
		}
		if n != nil {
			documents = append(documents, n)
		}
	}
}

type yamlReader struct {
	file  string
	nodes int
}

func (r *yamlReader) value(y *yaml.Node, depth int) (*node, error) {
	if r.nodes++; r.nodes > maxSpecNodes {
		return nil, fmt.Errorf("line %d: more than %d values once aliases are written out", y.Line, maxSpecNodes)
	}
	if depth > maxForeignDepth {
		return nil, fmt.Errorf("line %d: nests deeper than %d levels", y.Line, maxForeignDepth)
	}
	n := &node{pos: slo.Position{File: r.file, Line: y.Line, Col: y.Column}}
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) == 0 {
			return nil, nil
		}
		return r.value(y.Content[0], depth+1)
	case yaml.AliasNode:
		return r.value(y.Alias, depth+1)
	case yaml.MappingNode:
		n.kind = mappingNode
	case yaml.SequenceNode:
		n.kind = listNode
	case yaml.ScalarNode:
		n.kind, n.text = scalarKind(y.Tag), y.Value
		return n, nil
	}
	return n, r.inside(n, y, depth)
}

func (r *yamlReader) inside(n *node, y *yaml.Node, depth int) error {
	seen := map[string]bool{}
	for i, child := range y.Content {
		if n.kind == mappingNode && i%2 == 0 {
			if seen[child.Value] {
				return fmt.Errorf("line %d: key %q stands there twice", child.Line, child.Value)
			}
			seen[child.Value] = true
			n.keys = append(n.keys, child.Value)
			continue
		}
		value, err := r.value(child, depth+1)
		if err != nil {
			return err
		}
		n.values = append(n.values, value)
	}
	return nil
}

func scalarKind(tag string) nodeKind {
	switch tag {
	case "!!null":
		return nullNode
	case "!!int", "!!float":
		return numberNode
	case "!!bool":
		return boolNode
	}
	return textNode
}

// equalNumbers allows for what a percentage loses on its way through a float.
func equalNumbers(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }

// verdictOf is Same where same holds.
func verdictOf(same bool) Verdict {
	if same {
		return Same
	}
	return Differs
}

// hiddenFolder tells folders that hold other people's files.
func hiddenFolder(name string) bool {
	base := path.Base(name)
	return base == "node_modules" || base == "vendor" || len(base) > 1 && strings.HasPrefix(base, ".")
}
