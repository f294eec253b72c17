package contract

import (
	"sort"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	tsgo "github.com/microsoft/typescript-go/slowburn"

	"github.com/slowburn/slowburn/slo"
)

// source is one parsed file. It does not change once parsed, so any number of evaluators may read it at once;
// what is computed late is computed once.
type source struct {
	path string // relative to the scanned directory, with forward slashes
	text string // UTF-8 without a byte order mark
	file *tsgo.SourceFile

	// A fragment is an expression that stands in a comment: its names mean what they mean at host, and its
	// text begins at the byte offset shift of host's.
	host  place
	shift int

	lineOnce  sync.Once
	lineStart []int

	writeOnce sync.Once
	written   writes

	commonOnce sync.Once
	common     commonJS
}

// place is a node and the file it stands in.
type place struct {
	src  *source
	node *tsgo.Node
}

func (p place) with(node *tsgo.Node) place { return place{src: p.src, node: node} }

func (p place) position() slo.Position {
	if p.src == nil || p.node == nil {
		return slo.Position{}
	}
	return p.src.position(tsgo.Start(p.src.file, p.node))
}

func newSource(path, text string) *source {
	language := tsgo.TypeScript
	switch {
	case strings.HasSuffix(path, ".json"):
		language = tsgo.JSON
	case strings.HasSuffix(path, "x"), isJavaScript(path):
		language = tsgo.TSX
	}
	return &source{path: path, text: text, file: tsgo.Parse(text, language)}
}

func isJavaScript(path string) bool {
	return strings.HasSuffix(path, ".js") || strings.HasSuffix(path, ".mjs") || strings.HasSuffix(path, ".cjs") || strings.HasSuffix(path, ".jsx")
}

// length is what a file counts for in the cache.
func (s *source) length() int {
	if s == nil {
		return 64
	}
	return len(s.text)
}

func (s *source) root() place { return place{src: s, node: s.file.AsNode()} }

// lines is where each line begins. LF, CRLF and CR break lines, as in an editor; U+2028 does not.
func (s *source) lines() []int {
	s.lineOnce.Do(func() { s.lineStart = lineStarts(s.text) })
	return s.lineStart
}

func lineStarts(text string) []int {
	starts := []int{0}
	for i := range len(text) {
		if text[i] == '\n' || text[i] == '\r' && (i+1 == len(text) || text[i+1] != '\n') {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// line is the number of the line that holds the byte offset, from 0.
func (s *source) line(offset int) int {
	return sort.SearchInts(s.lines(), offset+1) - 1
}

// position counts columns in UTF-16 units, as editors and TypeScript do.
func (s *source) position(offset int) slo.Position {
	if s.host.src != nil {
		return s.host.src.position(min(s.shift+offset, len(s.host.src.text)))
	}
	line := s.line(offset)
	col := 1
	for _, r := range s.text[s.lines()[line]:offset] {
		col += utf16Len(r)
	}
	return slo.Position{File: s.path, Line: line + 1, Col: col}
}

func utf16Len(r rune) int {
	if r == utf8.RuneError {
		return 1
	}
	return max(1, utf16.RuneLen(r))
}

// maxSnippet bounds the source line that a finding carries.
const maxSnippet = 400

// snippet is the text of a line, counted from 1. A line too long to show has none: a caret below half a line
// would point nowhere.
func (s *source) snippet(line int) string {
	starts := s.lines()
	if line < 1 || line > len(starts) {
		return ""
	}
	end := len(s.text)
	if line < len(starts) {
		end = starts[line]
	}
	text := strings.TrimRight(s.text[starts[line-1]:end], "\r\n")
	if len(text) > maxSnippet {
		return ""
	}
	return text
}
