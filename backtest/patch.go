package backtest

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

const thresholdKey = "burnRateThreshold"

// Patch is the change of a TypeScript source that makes a proposal so, in the form of a unified diff without context;
// empty where the declaration at the position has no place for it.
func Patch(source string, at slo.Position, o slo.Objective, c Candidate) string {
	tier := slices.IndexFunc(o.Policy.Tiers, func(t slo.Tier) bool { return t.Name == c.Tier })
	from, ok := offset(source, at)
	if tier < 0 || !ok {
		return ""
	}
	value := rulegen.SpellThreshold(o, tier, c.Factor)
	edit, ok := inCall(source, from, value)
	if strings.HasPrefix(source[from:], "@SLO") && !strings.HasPrefix(source[from:], "@SLO(") {
		edit, ok = inTag(source, from, value)
	}
	if !ok {
		return ""
	}
	return edit.diff(at.File, source)
}

// offset is where a position lies in a source, whose columns count UTF-16 units and no byte order mark.
func offset(source string, at slo.Position) (int, bool) {
	from := 0
	if strings.HasPrefix(source, "\ufeff") {
		from = len("\ufeff")
	}
	for range at.Line - 1 {
		end := strings.IndexByte(source[from:], '\n')
		if end < 0 {
			return 0, false
		}
		from += end + 1
	}
	for units := at.Col - 1; units > 0 && from < len(source); {
		for _, r := range source[from:] {
			units -= utf16.RuneLen(r)
			from += len(string(r))
			break
		}
	}
	return from, at.Line > 0 && from < len(source)
}

// edit puts a text in the place of what lies between two offsets.
type edit struct {
	from, to int
	text     string
}

// diff shows the whole lines that the edit touches.
func (e edit) diff(file, source string) string {
	first := strings.LastIndexByte(source[:e.from], '\n') + 1
	last := len(source)
	if end := strings.IndexByte(source[e.to:], '\n'); end >= 0 {
		last = e.to + end
	}
	line := 1 + strings.Count(source[:first], "\n")
	old := strings.Split(source[first:last], "\n")
	changed := strings.Split(source[first:e.from]+e.text+source[e.to:last], "\n")
	return fmt.Sprintf("--- a/%s\n+++ b/%s\n@@ -%d,%d +%d,%d @@\n-%s\n+%s\n",
		file, file, line, len(old), line, len(changed), strings.Join(old, "\n-"), strings.Join(changed, "\n+"))
}

// inCall edits the options of a decorator or a constructor: an object literal that is the first argument.
func inCall(source string, from int, value string) (edit, bool) {
	open := strings.IndexByte(source[from:], '(')
	if open < 0 {
		return edit{}, false
	}
	brace := skipBlank(source, from+open+1)
	if brace >= len(source) || source[brace] != '{' {
		return edit{}, false
	}
	var target member
	for _, m := range members(source, brace) {
		switch m.name {
		case thresholdKey:
			if m.from == m.key { // the name alone stands for a variable of that name
				return edit{m.from, m.to, thresholdKey + ": " + value}, true
			}
			return edit{m.from, m.to, value}, true
		case "target", "sloTarget":
			target = m
		}
	}
	if target.name == "" {
		return edit{}, false
	}
	glue := " "
	if line := source[strings.LastIndexByte(source[:target.key], '\n')+1 : target.key]; strings.TrimSpace(line) == "" && strings.Contains(source[brace:target.key], "\n") {
		glue = "\n" + line
	}
	return edit{target.to, target.to, "," + glue + thresholdKey + ": " + value}, true
}

// member is one property of an object literal: where its name begins, and its value from and to.
type member struct {
	name          string
	key, from, to int
}

// members lists the properties of the object literal that begins at a brace.
func members(source string, brace int) []member {
	var all []member
	for at := skipBlank(source, brace+1); at < len(source) && source[at] != '}'; at = skipBlank(source, at) {
		end := valueEnd(source, at)
		m := member{key: at, from: at, to: end}
		m.name = strings.Trim(strings.TrimSpace(source[at:end]), `'"`)
		if colon := strings.IndexByte(source[at:end], ':'); colon >= 0 {
			m.name = strings.Trim(strings.TrimSpace(source[at:at+colon]), `'"`)
			m.from = skipBlank(source, at+colon+1)
		}
		m.to = m.from + len(strings.TrimRight(source[m.from:max(m.from, end)], " \t\r\n"))
		all = append(all, m)
		if at = skipBlank(source, end); at < len(source) && source[at] == ',' {
			at++
		} else if at < len(source) && source[at] != '}' {
			return all // no object that can be read here
		}
	}
	return all
}

// valueEnd is where an expression ends: at a comma, a comment or a closing bracket that is not its own.
func valueEnd(source string, at int) int {
	depth := 0
	for at < len(source) {
		switch c := source[at]; c {
		case '\'', '"', '`':
			at = quotedEnd(source, at)
			continue
		case '/':
			if end := skipBlank(source, at); end > at {
				if depth == 0 {
					return at
				}
				at = end
				continue
			}
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			if depth--; depth < 0 {
				return at
			}
		case ',':
			if depth == 0 {
				return at
			}
		}
		at++
	}
	return at
}

// quotedEnd is after the quote that closes the one at this place.
func quotedEnd(source string, at int) int {
	for k := at + 1; k < len(source); k++ {
		switch source[k] {
		case '\\':
			k++
		case source[at]:
			return k + 1
		}
	}
	return len(source)
}

// skipBlank is the next place that is neither blank nor in a comment.
func skipBlank(source string, at int) int {
	for at < len(source) {
		switch rest := source[at:]; {
		case strings.ContainsRune(" \t\r\n", rune(rest[0])):
			at++
		case strings.HasPrefix(rest, "//"):
			at += lengthUpTo(rest, "\n", 0)
		case strings.HasPrefix(rest, "/*"):
			at += lengthUpTo(rest, "*/", len("*/"))
		default:
			return at
		}
	}
	return at
}

// lengthUpTo is how long a text is up to the mark, and so much of the mark.
func lengthUpTo(text, mark string, more int) int {
	if end := strings.Index(text, mark); end >= 0 {
		return end + more
	}
	return len(text)
}

// inTag edits a tag of a comment, which ends where the next tag or the comment does.
func inTag(source string, from int, value string) (edit, bool) {
	comment := source[from:]
	end := strings.Index(comment, "*/")
	if end < 0 {
		return edit{}, false
	}
	comment = comment[:end]
	for k := 1; k < len(comment); k++ {
		if comment[k] == '@' && strings.ContainsRune(" \t\n*", rune(comment[k-1])) {
			comment = comment[:k]
			break
		}
	}
	tagged := strings.Trim(value, "'") // a bare word needs no quotes
	at := strings.Index(comment, thresholdKey)
	if at < 0 {
		stop := from + len(strings.TrimRight(comment, " \t\r\n*"))
		return edit{stop, stop, " " + thresholdKey + "=" + tagged}, true
	}
	rest := strings.TrimLeft(comment[at+len(thresholdKey):], " \t")
	if !strings.HasPrefix(rest, "=") {
		return edit{}, false
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	start := from + len(comment) - len(rest)
	return edit{start, start + wordEnd(rest), tagged}, true
}

// wordEnd is where a tag's value ends: at a blank outside its quotes and braces.
func wordEnd(text string) int {
	depth := 0
	for k := 0; k < len(text); {
		switch text[k] {
		case '\'', '"':
			k = quotedEnd(text, k)
			continue
		case '{':
			depth++
		case '}':
			depth--
		case ' ', '\t', '\r', '\n':
			if depth == 0 {
				return k
			}
		}
		k++
	}
	return len(text)
}
