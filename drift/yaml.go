package drift

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

// What is read of others is bounded.
const (
	maxFile     = 10 << 20
	maxDepth    = 100
	maxExpanded = 1_000_000 // nodes of a file once its aliases are written out
)

// document is one YAML file, or the YAML that a running program answered with.
type document struct {
	file  string
	text  []byte
	trees []*yaml.Node // one mapping for each YAML document
}

func (d *document) position(n *yaml.Node) slo.Position {
	if n == nil || n.Line == 0 {
		return slo.Position{File: d.file}
	}
	return slo.Position{File: d.file, Line: n.Line, Col: n.Column}
}

// fault is what keeps a file from being read, with its place.
type fault struct {
	pos slo.Position
	err error
}

func (f *fault) finding(rule, remedy string) slo.Finding {
	return slo.Finding{Rule: rule, Pos: f.pos, Message: clip("not compared: " + f.err.Error()), Remedy: remedy}
}

func readDocument(fsys fs.FS, file string) (*document, *fault) {
	f := readForeign(fsys, file, maxFile)
	if f.Err != nil {
		return nil, &fault{slo.Position{File: file}, f.Err}
	}
	return parseDocument(file, f.Content)
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// parseDocument reads YAML and judges its shape: a tree that is too deep, grows too large by its aliases or
// contains itself is refused, so that walking it ends.
func parseDocument(file string, text []byte) (*document, *fault) {
	d := &document{file: file, text: text}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var n yaml.Node
		err := decoder.Decode(&n)
		switch {
		case errors.Is(err, io.EOF) && len(d.trees) == 0:
			return nil, &fault{slo.Position{File: file}, errors.New("it is empty")}
		case errors.Is(err, io.EOF):
			return d, nil
		case err != nil:
			return nil, &fault{lineOf(file, err), err}
		}
		if len(n.Content) == 0 || n.Content[0].Tag == "!!null" {
			continue
		}
		tree := n.Content[0]
		if tree.Kind != yaml.MappingNode {
			return nil, &fault{d.position(tree), errors.New("the top level is not a mapping")}
		}
		if _, at, err := measure(tree, 0, map[*yaml.Node]int{}); err != nil {
			return nil, &fault{d.position(at), err}
		}
		d.trees = append(d.trees, tree)
	}
}

// lineOf reads the place out of the YAML parser's error.
func lineOf(file string, err error) slo.Position {
	pos := slo.Position{File: file}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			pos.Line = line
		}
	}
	return pos
}

// measure counts nodes with aliases written out. In sizes, -1 stands while a node is being measured.
func measure(n *yaml.Node, depth int, sizes map[*yaml.Node]int) (int, *yaml.Node, error) {
	if depth > maxDepth {
		return 0, n, fmt.Errorf("it nests deeper than %d levels", maxDepth)
	}
	if size, seen := sizes[n]; seen {
		if size < 0 {
			return 0, n, errors.New("an alias stands inside its own anchor")
		}
		return size, nil, nil
	}
	sizes[n] = -1
	children, size := n.Content, 1
	if n.Kind == yaml.AliasNode {
		children = []*yaml.Node{n.Alias}
	}
	for _, c := range children {
		more, at, err := measure(c, depth+1, sizes)
		if err != nil {
			return 0, at, err
		}
		if size += more; size > maxExpanded {
			return 0, c, fmt.Errorf("it holds more than %d nodes once aliases are written out", maxExpanded)
		}
	}
	sizes[n] = size
	return size, nil, nil
}

func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// entry is a key of a mapping with its value, aliases followed.
type entry struct{ key, value *yaml.Node }

// pairs lists what a mapping says, its own keys before merged ones.
func pairs(n *yaml.Node) []entry {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var own, merged []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		switch {
		case key.Value != "<<":
			own = append(own, entry{key, value})
		case value.Kind == yaml.SequenceNode:
			for _, source := range value.Content {
				merged = append(merged, pairs(source)...)
			}
		default:
			merged = append(merged, pairs(value)...)
		}
	}
	return append(own, merged...)
}

// find returns the key and value under a path of keys; both are nil if it is not there.
func find(n *yaml.Node, path ...string) entry {
	found := entry{value: n}
	for _, key := range path {
		next := entry{}
		for _, p := range pairs(found.value) {
			if p.key.Value == key {
				next = p
				break
			}
		}
		if found = next; found.value == nil {
			return entry{}
		}
	}
	return found
}

// items lists a sequence; anything else is empty.
func items(n *yaml.Node) []*yaml.Node {
	if n = resolve(n); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	list := make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		list[i] = resolve(c)
	}
	return list
}

// text is a scalar's value; anything else is empty.
func text(n *yaml.Node) string {
	if n = resolve(n); n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// texts are the values of a list of scalars.
func texts(n *yaml.Node) []string {
	var list []string
	for _, i := range items(n) {
		list = append(list, text(i))
	}
	return list
}
