package backtest

import (
	"fmt"
	"strings"

	"github.com/slowburn/slowburn/slo"
)

// Patch is the change of a TypeScript source that makes a proposal so, in the form of a unified diff without context;
// empty where the declaration at the position has no place for it.
func Patch(source string, at slo.Position, o slo.Objective, c Candidate) string {
	lines := strings.Split(source, "\n")
	value := spelled(o, c)
	from, to := at.Line-1, min(len(lines), at.Line+40)
	if from < 0 || from >= len(lines) {
		return ""
	}
	for k := from; k < to; k++ {
		if changed, ok := replaced(lines[k], value); ok {
			return hunk(at.File, k, lines[k], changed)
		}
		if k > from && closes(lines[k]) {
			break
		}
	}
	for k := from; k < to; k++ {
		if before, after, ok := strings.Cut(lines[k], "@SLO "); ok && strings.HasPrefix(strings.TrimSpace(before), "*") {
			return hunk(at.File, k, lines[k], before+"@SLO "+after+" burnRateThreshold="+tagged(value))
		}
		indent := lines[k][:len(lines[k])-len(strings.TrimLeft(lines[k], " \t"))]
		if word := strings.TrimSpace(lines[k]); strings.HasPrefix(word, "target:") || strings.HasPrefix(word, "sloTarget:") {
			return hunk(at.File, k, lines[k], lines[k]+"\n"+indent+"burnRateThreshold: "+value+",")
		}
	}
	return ""
}

// spelled is a threshold as a contract says it: bare for the fastest tier, else by the window that it is about.
func spelled(o slo.Objective, c Candidate) string {
	for k, t := range o.Policy.Tiers {
		if t.Name == c.Tier && k > 0 {
			return fmt.Sprintf("{ budget: '%s', within: '%s' }",
				slo.FormatPercent(slo.BudgetSpent(c.Factor, t.Long, o.Window)), slo.FormatWindow(t.Long))
		}
	}
	return "'" + slo.FormatNumber(c.Factor) + "x'"
}

// tagged is the same in a tag, where a bare word needs no quotes.
func tagged(value string) string { return strings.Trim(value, "'") }

// replaced exchanges the threshold of a line that has one.
func replaced(line, value string) (string, bool) {
	const key = "burnRateThreshold"
	_, after, ok := strings.Cut(line, key)
	if !ok {
		return "", false
	}
	rest := after
	text := strings.TrimLeft(rest, " ?")
	if text == "" || text[0] != ':' && text[0] != '=' {
		return "", false
	}
	tag := text[0] == '='
	old := strings.TrimLeft(text[1:], " ")
	head := line[:len(line)-len(old)]
	if tag {
		value = tagged(value)
	}
	return head + value + old[valueEnd(old, tag):], true
}

// valueEnd is where a value that stands in one line ends.
func valueEnd(text string, tag bool) int {
	if text == "" {
		return 0
	}
	if text[0] == '{' {
		return strings.IndexByte(text+"}", '}') + min(1, strings.Count(text, "}"))
	}
	if text[0] == '\'' || text[0] == '"' {
		if end := strings.IndexByte(text[1:], text[0]); end >= 0 {
			return end + 2
		}
	}
	stops := ",}) "
	if tag {
		stops = " "
	}
	if end := strings.IndexAny(text, stops); end >= 0 {
		return end
	}
	return len(text)
}

// closes reports whether a declaration ends in the line: a comment, or the brackets of a call.
func closes(line string) bool {
	word := strings.TrimSpace(line)
	return strings.HasPrefix(word, "*/") || strings.HasPrefix(word, "})") || strings.HasPrefix(word, "/** ") && strings.HasSuffix(word, "*/")
}

func hunk(file string, k int, old, changed string) string {
	n := 1 + strings.Count(changed, "\n")
	added := "+" + strings.ReplaceAll(changed, "\n", "\n+")
	return fmt.Sprintf("--- a/%s\n+++ b/%s\n@@ -%d,1 +%d,%d @@\n-%s\n%s\n", file, file, k+1, k+1, n, old, added)
}
