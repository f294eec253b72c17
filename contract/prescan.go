package contract

import (
	"fmt"
	"strings"
)

// Bounds on what is handed to the parser, which recurses as deep as its text nests and can't recover from a
// stack that overflows. It also reads some type arguments again at each level, so that time grows with the square or
// the cube of the depth. Code written by people stays below a tenth of them.
const (
	maxNesting = 500     // brackets, tags and type arguments inside each other
	maxRun     = 20_000  // tokens of one statement at one level: a chain of operators nests the tree, too
	maxTokens  = 500_000 // of a file: a tree takes some hundred bytes for each
	maxAsync   = 8       // calls of something named async inside each other: each triples the parser's work
)

// prescan refuses a text that nests too deep. It reads tokens roughly, in one pass, twice: a quote in JSX text
// looks like the beginning of a string, so that neither reading of backquotes alone is safe.
func prescan(text string) error {
	for _, backquotes := range []bool{true, false} {
		s := nesting{text: text, backquotes: backquotes, levels: []level{{}}, asyncAgo: 100}
		if err := s.scan(); err != nil {
			return err
		}
	}
	return nil
}

// nestingError says where a text became too deep.
type nestingError struct {
	offset int
	why    string
}

func (e *nestingError) Error() string { return e.why }

// level is what is open at one depth of brackets.
type level struct {
	opened byte
	tokens int // since the last separator
	commas int // a comma in parentheses may be an operator, and nest
}

// nesting is the state of one pass.
type nesting struct {
	text       string
	backquotes bool // read template strings as such
	pos        int
	tokens     int
	levels     []level
	async      []int // bracket depths at which async( is open
	asyncAgo   int   // tokens since the word async
	templates  []int // bracket depths at which a } ends a hole of a template string
	tags       int   // open JSX tags
	angles     int   // open type arguments
	last       byte  // the last byte of the last token
}

func (s *nesting) scan() error {
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			s.pos++
			continue
		case c == '/' && s.comment():
			continue
		case c == '"' || c == '\'':
			s.quoted(c)
		case c == '`' && s.backquotes:
			s.pos++
			s.template()
		case isIdentifierByte(c):
			s.word()
		default:
			s.punctuation(c)
		}
		s.top().tokens++
		s.tokens++
		s.asyncAgo++
		if err := s.check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *nesting) top() *level { return &s.levels[len(s.levels)-1] }

func (s *nesting) check() error {
	depth := max(len(s.levels), s.tags, s.angles)
	switch {
	case depth > maxNesting:
		return &nestingError{s.pos, fmt.Sprintf("nests deeper than %d levels", maxNesting)}
	case s.tokens > maxTokens:
		return &nestingError{s.pos, fmt.Sprintf("has more than %d tokens", maxTokens)}
	case len(s.async) > maxAsync:
		return &nestingError{s.pos, fmt.Sprintf("calls async inside async more than %d levels deep", maxAsync)}
	case max(s.top().tokens, s.top().commas) > maxRun:
		return &nestingError{s.pos, fmt.Sprintf("has a statement of more than %d tokens", maxRun)}
	}
	return nil
}

func (s *nesting) comment() bool {
	rest := s.text[s.pos:]
	switch {
	case strings.HasPrefix(rest, "//"):
		end := strings.IndexAny(rest, "\r\n")
		if end < 0 {
			end = len(rest)
		}
		s.pos += end
	case strings.HasPrefix(rest, "/*"):
		end := strings.Index(rest[2:], "*/")
		if end < 0 {
			end = len(rest) - 4
		}
		s.pos += end + 4
	default:
		return false
	}
	return true
}

// quoted skips a string, to the end of its line at most.
func (s *nesting) quoted(quote byte) {
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch s.text[s.pos] {
		case '\\':
			s.pos++
		case quote:
			s.pos++
			s.last = quote
			return
		case '\n', '\r':
			return
		}
	}
	s.last = quote
}

// template skips the text of a template string, to its end or its next hole.
func (s *nesting) template() {
	s.last = '`'
	for ; s.pos < len(s.text); s.pos++ {
		switch s.text[s.pos] {
		case '\\':
			s.pos++
		case '`':
			s.pos++
			return
		case '$':
			if s.pos+1 < len(s.text) && s.text[s.pos+1] == '{' {
				s.pos += 2
				s.levels = append(s.levels, level{opened: '{'})
				s.templates = append(s.templates, len(s.levels))
				s.last = '{'
				return
			}
		}
	}
}

func (s *nesting) word() {
	start := s.pos
	for s.pos < len(s.text) && isIdentifierByte(s.text[s.pos]) {
		s.pos++
	}
	s.last = 'a'
	switch s.text[start:s.pos] {
	case "async":
		s.asyncAgo = 0
	case "return", "typeof", "case", "in", "of", "delete", "void", "throw", "new", "do", "else", "await", "yield":
		s.last = '=' // a slash after these begins a regular expression
	}
}

func (s *nesting) punctuation(c byte) {
	s.pos++
	switch c {
	case '(', '[', '{':
		s.levels = append(s.levels, level{opened: c})
		if c == '(' && (s.asyncAgo == 1 || s.asyncAgo < 12 && s.last == '>') {
			s.async = append(s.async, len(s.levels))
		}
	case ')', ']', '}':
		s.closing(c)
	case ';':
		*s.top() = level{opened: s.top().opened}
		s.angles = 0
	case ',':
		s.top().tokens = 0
		if s.top().opened != '[' && s.top().opened != '{' {
			s.top().commas++
		}
	case '<':
		s.opensAngle()
	case '>':
		switch s.last {
		case '=': // an arrow
		case '/':
			s.tags = max(0, s.tags-1)
		default:
			s.angles = max(0, s.angles-1)
		}
	case '/':
		if s.pos < len(s.text) && s.text[s.pos] == '>' {
			break
		}
		if !strings.ContainsRune("a)]}'\"`<", rune(s.last)) || s.last == 0 {
			s.regular()
		}
	}
	s.last = c
}

func (s *nesting) closing(c byte) {
	if n := len(s.templates); c == '}' && n > 0 && s.templates[n-1] == len(s.levels) {
		s.templates = s.templates[:n-1]
		s.levels = s.levels[:len(s.levels)-1]
		s.template()
		return
	}
	if n := len(s.async); n > 0 && s.async[n-1] == len(s.levels) {
		s.async = s.async[:n-1]
	}
	if len(s.levels) > 1 {
		s.levels = s.levels[:len(s.levels)-1]
	}
	if c == '}' && s.endsStatement() {
		*s.top() = level{opened: s.top().opened}
		s.angles = 0
	}
}

// endsStatement reports whether what follows a closing brace begins something new: a word on the next line
// that joins nothing.
func (s *nesting) endsStatement() bool {
	rest := strings.TrimLeft(s.text[s.pos:], " \t\r\n")
	end := 0
	for end < len(rest) && end < 12 && isIdentifierByte(rest[end]) {
		end++
	}
	switch rest[:end] {
	case "", "else", "catch", "finally", "while", "instanceof", "in", "of", "as", "satisfies", "extends", "from":
		return false
	}
	return true
}

// opensAngle tells a JSX tag from type arguments and from a comparison.
func (s *nesting) opensAngle() {
	next := byte(' ')
	if s.pos < len(s.text) {
		next = s.text[s.pos]
	}
	switch {
	case next == '/':
		s.tags = max(0, s.tags-1)
	case s.last == 'a' && s.text[s.pos-2] != ' ':
		s.angles++
	case next == '>' || isIdentifierByte(next):
		s.tags++
	case next == '<':
		s.angles++
	}
}

// regular skips a regular expression, within its line.
func (s *nesting) regular() {
	class := false
	for i := s.pos; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '\\':
			i++
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '/' && !class:
			s.pos = i + 1
			return
		case c == '\n' || c == '\r':
			return
		}
	}
}
