package topology

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/slowburn/slowburn/slo"
)

const (
	maxDepth    = 100    // levels of nesting; Compose itself needs about ten
	maxServices = 2_000  // of one document; compose-go takes 0.2 ms for each
	maxExpanded = 50_000 // nodes of a document once its aliases are written out
)

// document is one Compose file: its bytes and its YAML trees, which keep the positions that compose-go loses.
type document struct {
	file     string
	text     []byte
	trees    []*yaml.Node // one mapping for each YAML document of the file
	expanded bool         // its variables are reported
	broken   bool         // a fault stands in it that mending can't remove
	mended   bool         // faulty nodes were taken out: text no longer says what trees say
}

// position places a node; the YAML parser counts columns from 1, in runes.
func (d *document) position(n *yaml.Node) slo.Position {
	return slo.Position{File: d.file, Line: n.Line, Col: n.Column}
}

// parse reads a Compose file's YAML and judges its shape: depth, aliases, duplicate keys. compose-go would
// stop at the first of these faults, or not notice.
func (s *scan) parse(file string, text []byte) *document {
	d := &document{file: file, text: text}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var n yaml.Node
		err := decoder.Decode(&n)
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			s.malformed(d, yamlPosition(file, text, err), yamlMessage(err), "mend the YAML")
			return d
		}
		s.judge(d, &n)
	}
}

// judge keeps a document's tree if it is sound.
func (s *scan) judge(d *document, n *yaml.Node) {
	if n.Kind != yaml.DocumentNode || len(n.Content) == 0 || n.Content[0].Tag == "!!null" {
		return
	}
	tree := n.Content[0]
	if tree.Kind != yaml.MappingNode {
		s.malformed(d, d.position(tree), "the top level is not a mapping", "write services: there")
		return
	}
	j := judgement{scan: s, doc: d, sizes: map[*yaml.Node]int{}}
	j.visit(tree, 0)
	if services := find(tree, "services"); !d.broken && len(pairs(services.value)) > maxServices {
		s.malformed(d, d.position(services.key), fmt.Sprintf("more than %d services", maxServices), "scan a smaller project")
	}
	if !d.broken {
		d.trees = append(d.trees, tree)
	}
}

func (s *scan) malformed(d *document, pos slo.Position, message, remedy string) {
	d.broken = true
	s.report(slo.Finding{Rule: ruleYAML, Pos: pos, Message: message, Remedy: remedy})
}

// judgement measures a tree with its aliases written out. sizes holds -1 while a node is being measured:
// meeting it again is a cycle.
type judgement struct {
	scan     *scan
	doc      *document
	sizes    map[*yaml.Node]int
	reported bool // of a bomb or a depth: one is enough, its outer levels follow from it
}

func (j *judgement) visit(n *yaml.Node, depth int) int {
	if size, seen := j.sizes[n]; seen {
		return size
	}
	if depth > maxDepth {
		j.once(n, fmt.Sprintf("nested deeper than %d levels", maxDepth), "flatten it")
		return 1
	}
	j.sizes[n] = -1
	size := 1
	if n.Kind == yaml.AliasNode {
		size = j.alias(n, depth)
	}
	j.duplicates(n)
	for _, c := range n.Content {
		size += j.visit(c, depth+1)
		if size > maxExpanded {
			size = maxExpanded + 1
			j.once(c, fmt.Sprintf("holds more than %d nodes once aliases are written out", maxExpanded), "use fewer aliases of aliases")
		}
	}
	j.sizes[n] = size
	return size
}

func (j *judgement) alias(n *yaml.Node, depth int) int {
	if size, seen := j.sizes[n.Alias]; seen && size < 0 {
		j.scan.malformed(j.doc, j.doc.position(n), fmt.Sprintf("alias *%s stands inside its own anchor", n.Value), "break the cycle")
		return 1
	}
	return j.visit(n.Alias, depth)
}

func (j *judgement) once(n *yaml.Node, message, remedy string) {
	if !j.reported {
		j.scan.malformed(j.doc, j.doc.position(n), message, remedy)
	}
	j.reported = true
}

// duplicates reports every key written twice in a mapping and takes the second out, so that the rest of the
// file can still be looked at.
func (j *judgement) duplicates(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	first := make(map[string]*yaml.Node, len(n.Content)/2)
	kept := n.Content[:0:0]
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if before, seen := first[key.Value]; seen && key.Kind == yaml.ScalarNode {
			j.scan.report(slo.Finding{Rule: ruleYAML, Pos: j.doc.position(key), Related: []slo.Position{j.doc.position(before)},
				Message: fmt.Sprintf("key %s already stands in line %d", quote(key.Value), before.Line), Remedy: "remove one of the two"})
			j.doc.mended = true
			continue
		}
		first[key.Value] = key
		kept = append(kept, key, n.Content[i+1])
	}
	if len(kept) < len(n.Content) {
		n.Content = kept
	}
}

// pair is a key of a mapping with its value, aliases followed.
type pair struct{ key, value *yaml.Node }

// pairs lists what a mapping says once aliases and merge keys are resolved. Its own keys win over merged
// ones, and an earlier merge over a later. The tree is judged already, so that this ends.
func pairs(n *yaml.Node) []pair {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var own, merged []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Value != "<<" {
			own = append(own, pair{key, resolve(value)})
			continue
		}
		for _, source := range sources(value) {
			merged = append(merged, pairs(source)...)
		}
	}
	said := make(map[string]bool, len(own))
	for _, p := range own {
		said[p.key.Value] = true
	}
	for _, p := range merged {
		if !said[p.key.Value] {
			said[p.key.Value] = true
			own = append(own, p)
		}
	}
	return own
}

// sources are the mappings a merge key names: one, or a list.
func sources(n *yaml.Node) []*yaml.Node {
	n = resolve(n)
	if n != nil && n.Kind == yaml.SequenceNode {
		return n.Content
	}
	return []*yaml.Node{n}
}

func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// find returns the key and value under a mapping's key; both are nil if it is not there.
func find(n *yaml.Node, key string) pair {
	for _, p := range pairs(n) {
		if p.key.Value == key {
			return p
		}
	}
	return pair{}
}

// items lists a value that may be a list or stand alone.
func items(n *yaml.Node) []*yaml.Node {
	switch n = resolve(n); {
	case n == nil:
		return nil
	case n.Kind != yaml.SequenceNode:
		return []*yaml.Node{n}
	}
	list := make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		list[i] = resolve(c)
	}
	return list
}

// yamlPosition reads the place out of the YAML parser's error. Its reader, which refuses bytes that are not
// text, gives none: then it is the first such byte.
func yamlPosition(file string, text []byte, err error) slo.Position {
	if load, ok := errors.AsType[*yaml.LoadError](err); ok && load.Mark.Line > 0 {
		return slo.Position{File: file, Line: load.Mark.Line, Col: load.Mark.Column}
	}
	for i, r := range string(text) {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == utf8.RuneError {
			before := text[:i]
			return slo.Position{File: file, Line: bytes.Count(before, []byte("\n")) + 1, Col: utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1}
		}
	}
	return slo.Position{File: file}
}

func yamlMessage(err error) string {
	if load, ok := errors.AsType[*yaml.LoadError](err); ok {
		return load.Message
	}
	return oneLine(err.Error())
}

// quote makes a name from a file safe on a terminal and bounded.
func quote(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return strconv.Quote(s)
}
