package topology

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/slowburn/slowburn/slo"
)

// content is what compose-go is given of a document: the file's own bytes, unless faulty nodes were taken
// out. The obsolete `version` is taken out too, since compose-go complains of it on standard error.
func (d *document) content() []byte {
	if !d.mended {
		return bytes.Join(withoutVersion(bytes.Split(d.text, []byte("\n")), d.trees), []byte("\n"))
	}
	var b bytes.Buffer
	for _, tree := range d.trees {
		text, err := yaml.Marshal(tree)
		if err != nil {
			return d.text // compose-go then meets the first fault again, which is reported already
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.Bytes()
}

// withoutVersion blanks the lines that hold nothing but `version:`.
func withoutVersion(lines [][]byte, trees []*yaml.Node) [][]byte {
	for _, tree := range trees {
		if tree.Style&yaml.FlowStyle != 0 || len(tree.Content) <= 2 {
			continue
		}
		for i := 0; i+1 < len(tree.Content); i += 2 {
			key, value := tree.Content[i], tree.Content[i+1]
			if key.Value == "version" && value.Kind == yaml.ScalarNode && key.Line == value.Line && value.Anchor == "" && value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 && !bytes.Contains(lines[key.Line-1], []byte("---")) {
				lines[key.Line-1] = nil
			}
		}
	}
	return lines
}

// serviceNode finds where a service is first written.
func (s *scan) serviceNode(name string) (*document, pair) {
	for _, d := range s.order {
		for _, tree := range d.trees {
			if p := find(find(tree, "services").value, name); p.key != nil {
				return d, p
			}
		}
	}
	return nil, pair{}
}

// places lists where every service is first written.
func (s *scan) places() map[string]slo.Position {
	all := map[string]slo.Position{}
	for _, d := range s.order {
		for _, tree := range d.trees {
			for _, p := range pairs(find(tree, "services").value) {
				if _, known := all[p.key.Value]; !known {
					all[p.key.Value] = d.position(p.key)
				}
			}
		}
	}
	return all
}

// serviceAt names the service in whose block a place stands.
func (s *scan) serviceAt(pos slo.Position) (name string) {
	d := s.docs[pos.File]
	if d == nil {
		return ""
	}
	for _, tree := range d.trees {
		for _, p := range pairs(find(tree, "services").value) {
			if p.key.Line <= pos.Line {
				name = p.key.Value
			}
		}
	}
	return name
}

// refused reports what compose-go says of the documents and takes the part it names out of them. False means
// that nothing more can be learnt. A service is blamed once: later faults may follow from the first.
func (s *scan) refused(ctx context.Context, given []*document, err error, blamed map[string]bool, profiles []string) bool {
	progress := false
	for _, single := range split(err) {
		message := s.relative(single.Error())
		at := s.spot(given, message)
		if len(at.written) == 0 {
			cost := cost(given)
			at = s.bisect(given, err, func() error {
				if s.spent += cost; s.spent > maxSpent {
					return err // nothing more can be learnt
				}
				_, err := s.load(ctx, given, profiles)
				return err
			})
		}
		if !s.follows(at.service, message, blamed) && !blamed[at.service] {
			s.report(slo.Finding{Rule: ruleCompose, Pos: at.pos, Message: "Compose refuses it: " + message, Remedy: "correct it as the Compose specification says"})
		}
		if at.service != "" {
			blamed[at.service] = true
		}
		progress = at.remove() || progress
	}
	return progress
}

// follows reports whether a fault of a service only comes of another one having been taken out: it extends
// that one, or the message says that it is missing.
func (s *scan) follows(service, message string, blamed map[string]bool) bool {
	_, p := s.serviceNode(service)
	base := find(p.value, "extends").value
	if named := find(base, "service").value; named != nil {
		base = named
	}
	if base != nil && blamed[base.Value] || s.incomplete && (strings.Contains(message, "undefined ") || message == "empty compose file") {
		return true
	}
	if !strings.Contains(message, "undefined service ") && !strings.Contains(message, " not found") {
		return false
	}
	return slices.ContainsFunc(strings.FieldsFunc(message, func(r rune) bool { return r == '"' || r == ' ' || r == ':' }), func(word string) bool { return blamed[word] })
}

// split takes joined errors apart.
func split(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, split(e)...)
	}
	return all
}

// relative takes absolute paths and upstream's prefixes out of a message.
func (s *scan) relative(message string) string {
	message = strings.ReplaceAll(message, s.root.dir+"/", "")
	message = strings.ReplaceAll(message, s.root.dir, ".")
	if rest, found := strings.CutPrefix(message, "validating "); found {
		if _, after, found := strings.Cut(rest, ": "); found {
			message = after
		}
	}
	return strings.ReplaceAll(oneLine(message), " false schema", " is not a key that Compose knows")
}

// spot is the place a message speaks of: the pair (or list item) that can be taken out.
type spot struct {
	pos     slo.Position
	service string
	written []occurrence // one for each document that says it
}

// occurrence is a value in its mapping or list.
type occurrence struct {
	doc           *document
	parent, value *yaml.Node
}

var (
	dotted   = regexp.MustCompile(`\b(?:services|networks|volumes|secrets|configs|models|jobs)\.[^\s:;,` + "`" + `]+`)
	quoted   = regexp.MustCompile(`(?:^|\s)service "([^"]+)"|(?:^|\s)service ([\w.-]+) `)
	unwanted = regexp.MustCompile(`additional propert(?:y|ies) '([^']+)'`)
)

// spot finds the place a message of compose-go speaks of. Messages name it as services.api.ports.0 or as
// service "api"; there is no typed error.
func (s *scan) spot(given []*document, message string) spot {
	var words []string
	if path := dotted.FindString(message); path != "" {
		words = strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(path), ".")
	} else if m := quoted.FindStringSubmatch(message); m != nil {
		words = []string{"services", m[1] + m[2]}
	} else if word, _, _ := strings.Cut(message, " "); word != "" {
		words = []string{word} // as in: services must be a mapping
	}
	if m := unwanted.FindStringSubmatch(message); m != nil {
		words = append(words, m[1])
	}
	at := spot{pos: slo.Position{File: given[0].file}}
	for _, d := range given {
		for _, tree := range d.trees {
			at.look(d, tree, words)
		}
	}
	return at
}

// look walks the path as far as it goes in one tree. The deepest find gives the position; every document
// that holds the faulty value is mended.
func (at *spot) look(d *document, tree *yaml.Node, words []string) {
	parent, key, value, service := tree, (*yaml.Node)(nil), tree, ""
	for i := 0; i < len(words); {
		next, n := step(value, words[i:])
		if n == 0 {
			break
		}
		if i == 1 && words[0] == "services" {
			service = next.key.Value
		}
		parent, key, value = resolve(value), next.key, next.value
		i += n
	}
	if key == nil || value == resolve(find(tree, "services").value) && value.Kind == yaml.MappingNode {
		return
	}
	if len(at.written) == 0 {
		at.pos, at.service = d.position(key), service
	}
	at.written = append(at.written, occurrence{d, parent, value})
}

// step goes one level down: a list index, or the longest key that the words begin with, since keys may
// contain dots. It returns how many words that took.
func step(n *yaml.Node, words []string) (pair, int) {
	n = resolve(n)
	if n != nil && n.Kind == yaml.SequenceNode {
		for i, c := range n.Content {
			if words[0] == strconv.Itoa(i) {
				return pair{c, resolve(c)}, 1
			}
		}
		return pair{}, 0
	}
	for used := len(words); used > 0; used-- {
		if p := find(n, strings.Join(words[:used], ".")); p.key != nil {
			return p, used
		}
	}
	return pair{}, 0
}

// remove takes the faulty value out of every document that holds it.
func (at *spot) remove() bool {
	removed := false
	for _, o := range at.written {
		kept := o.without()
		if len(kept) < len(o.parent.Content) {
			o.parent.Content, o.doc.mended, removed = kept, true, true
		}
	}
	return removed
}

// without is what the parent holds besides the value. A value that came by a merge key stays.
func (o occurrence) without() (kept []*yaml.Node) {
	stride := 1
	if o.parent.Kind == yaml.MappingNode {
		stride = 2
	}
	for entry := range slices.Chunk(o.parent.Content, stride) {
		if resolve(entry[len(entry)-1]) != o.value {
			kept = append(kept, entry...)
		}
	}
	return kept
}

// bisect finds the place of an error that names none: the service, and in it the key, without which
// compose-go says something else.
func (s *scan) bisect(given []*document, err error, load func() error) spot {
	at := spot{pos: slo.Position{File: given[0].file}}
	known := map[string]bool{anyOrder(err): true}
	for range 4 { // compose-go ranges over maps: with several faults, now one comes first and now another
		if err := load(); err != nil {
			known[anyOrder(err)] = true
		}
	}
	for _, d := range given {
		for _, tree := range d.trees {
			services := find(tree, "services").value
			culprit, service := s.culprit(d, services, known, load)
			if service.key == nil {
				continue
			}
			at = spot{d.position(service.key), service.key.Value, []occurrence{culprit}}
			if inner, key := s.culprit(d, service.value, known, load); key.key != nil {
				at.pos, at.written = d.position(key.key), []occurrence{inner}
			}
			return at
		}
	}
	return at
}

// culprit tries a mapping without each of its entries in turn. Everything is put back.
func (s *scan) culprit(d *document, mapping *yaml.Node, known map[string]bool, load func() error) (occurrence, pair) {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return occurrence{}, pair{}
	}
	content, mended := mapping.Content, d.mended
	defer func() { mapping.Content, d.mended = content, mended }()
	d.mended = true
	for _, p := range pairs(mapping) {
		o := occurrence{d, mapping, p.value}
		mapping.Content = content
		mapping.Content = o.without()
		if again := load(); again == nil || !known[anyOrder(again)] {
			return o, p
		}
	}
	return occurrence{}, pair{}
}

// anyOrder compares messages that list the same things in another order.
func anyOrder(err error) string {
	words := strings.Fields(err.Error())
	slices.Sort(words)
	return strings.Join(words, " ")
}
