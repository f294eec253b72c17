package contract

import (
	"regexp"
	"slices"
	"strings"

	tsgo "github.com/microsoft/typescript-go/slowburn"
)

// tagWord is our tag as comments spell it.
const tagWord = "@" + decoratorName

// span is a stretch of text, [start, end).
type span struct{ start, end int }

// gap is a stretch of a file that no node covers: tokens without a node, blanks and comments. In is the
// innermost node around it.
type gap struct {
	span
	in   *tsgo.Node
	leaf bool // the offset lies in a token that is a node of its own
}

// gapAt finds what lies at a byte offset.
func (s *source) gapAt(offset int) gap {
	n := s.file.AsNode()
	for {
		g := gap{span: span{n.Pos(), n.End()}, in: n}
		var inner *tsgo.Node
		children := false
		n.ForEachChild(func(child *tsgo.Node) bool {
			children = true
			switch {
			case child.Pos() <= offset && offset < child.End():
				inner = child
				return true
			case child.End() <= offset:
				g.start = max(g.start, child.End())
			case child.Pos() > offset:
				g.end = min(g.end, child.Pos())
			}
			return false
		})
		if inner == nil {
			if !children {
				token := tsgo.Start(s.file, n)
				g.leaf = offset >= token && n.Kind != tsgo.KindEndOfFile || n.Kind == tsgo.KindJsxText
				g.end = max(token, g.start)
				if n.Kind == tsgo.KindEndOfFile {
					g.end = len(s.text)
				}
			}
			return g
		}
		n = inner
	}
}

// commentAt finds the comment around a byte offset, if there is one there.
func (s *source) commentAt(offset int) (c span, in *tsgo.Node, ok bool) {
	g := s.gapAt(offset)
	if g.leaf {
		return span{}, g.in, false
	}
	for i := g.start; i < len(s.text) && i <= offset; {
		end := i + 1
		rest := s.text[i:]
		switch {
		case strings.HasPrefix(rest, "//"):
			end = i + lineEnd(rest)
		case strings.HasPrefix(rest, "/*"):
			end = len(s.text)
			if n := strings.Index(rest[2:], "*/"); n >= 0 {
				end = i + n + 4
			}
		default:
			i = end
			continue
		}
		if offset < end {
			return span{i, end}, g.in, true
		}
		i = end
	}
	return span{}, g.in, false
}

func lineEnd(text string) int {
	if i := strings.IndexAny(text, "\r\n"); i >= 0 {
		return i
	}
	return len(text)
}

// mentionsOf lists where a word stands in the text, as a whole word.
func mentionsOf(text, word string) []int {
	var all []int
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return all
		}
		at += i
		end := at + len(word)
		if end == len(text) || !isIdentifierByte(text[end]) {
			all = append(all, at)
		}
		at = end
	}
}

// comments reads the tags and the suppressions of the file.
func (f *finder) comments() {
	text := f.src.text
	var seen []span
	for _, at := range mentionsOf(text, tagWord) {
		c, in, ok := f.src.commentAt(at)
		if !ok || !strings.HasPrefix(text[c.start:], "/**") || !strings.HasSuffix(text[c.start:c.end], "*/") || slices.Contains(seen, c) {
			continue
		}
		seen = append(seen, c)
		f.tags(c, in)
	}
	for _, at := range mentionsOf(text, ignoreWord) {
		if c, _, ok := f.src.commentAt(at); ok {
			f.suppress(at, c)
		}
	}
}

// blank is a comment with its frame and the stars at its line beginnings turned into blanks, so that offsets
// stay what they are.
func blank(comment string) string {
	b := []byte(comment)
	copy(b, "   ")
	copy(b[len(b)-2:], "  ")
	fresh := false
	for i, c := range b {
		switch {
		case c == '\n' || c == '\r':
			fresh = true
		case fresh && c == '*':
			b[i], fresh = ' ', false
		case c != ' ' && c != '\t':
			fresh = false
		}
	}
	return string(b)
}

// tags reads every tag of one comment.
func (f *finder) tags(c span, in *tsgo.Node) {
	text := blank(f.src.text[c.start:c.end])
	next := 0
	for _, at := range mentionsOf(text, tagWord) {
		if at < next || inFence(text, at) || at != next && !beginsLine(text, at) || inExample(text, at) {
			continue
		}
		t := parseTag(text, at+len(tagWord))
		next = t.end
		f.declareTag(t, c.start, at, in)
	}
}

func beginsLine(text string, at int) bool {
	before := strings.TrimRight(text[:at], " \t")
	return before == "" || strings.HasSuffix(before, "\n") || strings.HasSuffix(before, "\r")
}

func inFence(text string, at int) bool { return strings.Count(text[:at], "```")%2 == 1 }

// inExample reports whether what looks like a decorator stands in the example of a comment.
func inExample(text string, at int) bool {
	return strings.HasPrefix(text[at+len(tagWord):], "(") && strings.Contains(text[:at], "@example")
}

// pair is key=value of a tag, with the offset of each.
type pair struct {
	key     string
	value   string
	keyAt   int
	valueAt int
	code    bool // the value is a {expression}
}

// tag is @SLO with what follows it.
type tag struct {
	name   string
	pairs  []pair
	prose  string // the description behind a dash
	fault  string
	faulty int
	end    int
}

// parseTag reads [name] key=value …, up to the next tag or the end of the comment.
func parseTag(text string, at int) tag {
	var t tag
	pos := skipBlanks(text, at)
	if strings.HasPrefix(text[at:], "(") {
		t.fault, t.faulty, t.end = "a tag has no parentheses", at, at
		return t
	}
	for first := true; pos < len(text) && text[pos] != '@'; first = false {
		if dash := description(text, pos); dash >= 0 {
			t.end = nextTag(text, dash)
			t.prose = strings.Join(strings.Fields(text[dash:t.end]), " ")
			return t
		}
		start := pos
		for pos < len(text) && !strings.ContainsRune("= \t\r\n", rune(text[pos])) {
			pos++
		}
		word := text[start:pos]
		pos = skipBlanks(text, pos)
		if pos < len(text) && text[pos] == '=' {
			p := pair{key: word, keyAt: start}
			p.valueAt = skipBlanks(text, pos+1)
			if pos = p.read(text); pos < 0 {
				t.fault, t.faulty, t.end = "the value of "+word+" is not closed", start, nextTag(text, start)
				return t
			}
			t.pairs = append(t.pairs, p)
			pos = skipBlanks(text, pos)
			continue
		}
		if !first {
			t.fault, t.faulty, t.end = word+" is neither key=value nor, in the first place, a name", start, nextTag(text, start)
			return t
		}
		t.name = strings.Trim(word, `"'`)
	}
	t.end = pos
	return t
}

func description(text string, pos int) int {
	for _, dash := range []string{"- ", "-- ", "– ", "— "} {
		if strings.HasPrefix(text[pos:], dash) {
			return pos + len(dash)
		}
	}
	return -1
}

func nextTag(text string, from int) int {
	for i := from; i < len(text); i++ {
		if text[i] == '@' && (i == 0 || strings.ContainsRune(" \t\r\n", rune(text[i-1]))) {
			return i
		}
	}
	return len(text)
}

func skipBlanks(text string, pos int) int {
	for pos < len(text) && strings.ContainsRune(" \t\r\n", rune(text[pos])) {
		pos++
	}
	return pos
}

// read takes the value that begins at valueAt and gives where it ends, or less than 0 if it does not.
func (p *pair) read(text string) int {
	at := p.valueAt
	end := wordEnd(text, at)
	if end < 0 {
		return -1
	}
	p.value = text[at:end]
	switch {
	case p.value == "":
		return -1
	case p.value[0] == '"' || p.value[0] == '\'':
		if len(p.value) < 2 || p.value[len(p.value)-1] != p.value[0] {
			return -1
		}
		p.value = p.value[1 : len(p.value)-1]
	case p.value[0] == '{' && p.value[len(p.value)-1] == '}':
		p.code = true
		p.value = p.value[1 : len(p.value)-1]
		p.valueAt++
	}
	return end
}

// wordEnd finds the first blank behind at that stands in no brackets and no quotes.
func wordEnd(text string, at int) int {
	var open []byte
	closing := map[byte]byte{'(': ')', '[': ']', '{': '}'}
	for i := at; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' || c == '\'' || c == '`':
			n := strings.IndexByte(text[i+1:], c)
			if n < 0 {
				return -1
			}
			i += n + 1
		case closing[c] != 0:
			open = append(open, closing[c])
		case c == ')' || c == ']' || c == '}':
			if len(open) == 0 || open[len(open)-1] != c {
				return -1
			}
			open = open[:len(open)-1]
		case len(open) == 0 && strings.IndexByte(" \t\r\n", c) >= 0:
			return i
		}
	}
	if len(open) > 0 {
		return -1
	}
	return len(text)
}

var newOurs = regexp.MustCompile(`\bnew\s+(?:[\w$]+\s*\.\s*)*` + instrumentName + `\b`)

// lostMentions reports, in a file that breaks the grammar, every declaration in the text that the parser did
// not come to see.
func (f *finder) lostMentions() {
	if len(tsgo.Faults(f.src.file)) == 0 {
		return
	}
	for _, m := range newOurs.FindAllStringIndex(f.src.text, -1) {
		if !f.isAccounted(m[0]+1, m[1]-1) {
			f.lost("call", m[0])
		}
	}
	for _, at := range mentionsOf(f.src.text, tagWord) {
		if f.isAccounted(at, at+1) {
			continue
		}
		kind := "jsdoc"
		if strings.HasPrefix(strings.TrimLeft(f.src.text[at+len(tagWord):], " "), "(") {
			kind = "decorator"
		}
		f.lost(kind, at)
	}
}

// isAccounted reports whether a declaration, a comment, an identifier or a closed string explains a mention.
// A template string does not: where a backquote is missing, what looks like one is code.
func (f *finder) isAccounted(at, name int) bool {
	pos := f.src.position(at)
	for _, d := range f.declarations {
		if d.Line == pos.Line && d.Col <= pos.Col && pos.Col <= d.Col+1 {
			return true
		}
	}
	if c, _, ok := f.src.commentAt(at); ok {
		return c.end < len(f.src.text) || !strings.HasPrefix(f.src.text[c.start:], "/*") || strings.HasSuffix(f.src.text, "*/")
	}
	g := f.src.gapAt(name)
	if !g.leaf {
		return false
	}
	switch g.in.Kind {
	case tsgo.KindIdentifier, tsgo.KindJsxText, tsgo.KindRegularExpressionLiteral:
		return true
	case tsgo.KindStringLiteral:
		token := f.src.text[tsgo.Start(f.src.file, g.in):g.in.End()]
		return len(token) > 1 && token[0] == token[len(token)-1]
	}
	return false
}

func (f *finder) lost(kind string, at int) {
	pos := f.src.position(at)
	d := Declaration{File: pos.File, Line: pos.Line, Col: pos.Col, Kind: kind, endLine: pos.Line}
	d.fail(Fault{Rule: ruleSyntax, Error: "syntax", Message: "the file breaks the grammar near here, so that this can't be read", Pos: pos, Snippet: f.src.snippet(pos.Line)})
	f.declarations = append(f.declarations, d)
}
