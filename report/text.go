package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"

	"github.com/slowburn/slowburn/slo"
)

// Text writes for people. With Color it uses ANSI colours, which only a terminal should get.
type Text struct {
	W     io.Writer
	Color bool
	Width int // columns of the terminal; where it is known, the last column of a wide table is wrapped
}

type style string

// The styles in use; the plain one writes no escapes.
const (
	Plain  style = ""
	Bold   style = "1"
	Dim    style = "2"
	Red    style = "31"
	Green  style = "32"
	Yellow style = "33"
	Cyan   style = "36"
)

// Paint wraps s in a style, where colours are on.
func (t Text) Paint(s string, as style) string {
	if !t.Color || as == Plain || s == "" {
		return s
	}
	return "\x1b[" + string(as) + "m" + s + "\x1b[0m"
}

// Printf writes formatted text.
func (t Text) Printf(format string, args ...any) { fmt.Fprintf(t.W, format, args...) }

// Cell is one field of a table.
type Cell struct {
	Text  string
	Style style
	Right bool // numbers stand flush right
}

// Cells makes plain cells.
func Cells(texts ...string) []Cell {
	row := make([]Cell, len(texts))
	for i, text := range texts {
		row[i].Text = text
	}
	return row
}

// Table writes aligned columns with two blanks between, the header in bold.
func (t Text) Table(header []string, rows [][]Cell) {
	head := Cells(header...)
	for i := range head {
		head[i].Style = Bold
		head[i].Right = len(rows) > 0 && i < len(rows[0]) && rows[0][i].Right
	}
	all := append([][]Cell{head}, rows...)
	widths := make([]int, len(header))
	for _, row := range all {
		for i, c := range row {
			widths[i] = max(widths[i], width(Printable(c.Text)))
		}
	}
	for _, row := range all {
		var line strings.Builder
		for i, c := range row {
			text := Printable(c.Text)
			pad := strings.Repeat(" ", widths[i]-width(text))
			if c.Right {
				line.WriteString(pad + t.Paint(text, c.Style) + "  ")
			} else {
				line.WriteString(t.Paint(text, c.Style) + pad + "  ")
			}
		}
		t.Printf("%s\n", strings.TrimRight(line.String(), " "))
	}
}

// width is how many columns s takes on a terminal, whatever the locale says of ambiguous characters.
func width(s string) int { return (&runewidth.Condition{}).StringWidth(s) }

// Printable shows control characters as escapes, so that a file name or label can't drive the terminal.
func Printable(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		if unprintable(c) {
			fmt.Fprintf(&b, `\x%02x`, c)
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

func unprintable(c rune) bool { return !unicode.IsPrint(c) && c != ' ' }

// Findings writes each finding on a line of its own, with the source line and a caret under the place where
// the line is known.
func (t Text) Findings(findings []slo.Finding) {
	for _, f := range findings {
		place := ""
		if f.Pos.File != "" {
			place = t.Paint(Printable(f.Pos.String())+":", Bold) + " "
		}
		remedy := ""
		if f.Remedy != "" {
			remedy = "; " + f.Remedy
		}
		t.Printf("%s%s: %s%s %s\n", place, t.Paint(f.Severity.String(), severityStyle(f.Severity)),
			Printable(f.Message), Printable(remedy), t.Paint("("+f.Rule+")", Dim))
		t.caret(f)
		for _, r := range f.Related {
			t.Printf("    see also %s\n", Printable(r.String()))
		}
	}
}

// caret shows the source line; Col counts UTF-16 units, the caret stands under the character.
func (t Text) caret(f slo.Finding) {
	if f.Snippet == "" || f.Pos.Col == 0 {
		return
	}
	var before strings.Builder
	units := 1
	for _, c := range f.Snippet {
		if units >= f.Pos.Col {
			break
		}
		if c == '\t' {
			before.WriteByte('\t')
		} else {
			before.WriteString(strings.Repeat(" ", width(Printable(string(c)))))
		}
		units++
		if c > 0xffff {
			units++
		}
	}
	parts := strings.Split(f.Snippet, "\t")
	for i := range parts {
		parts[i] = Printable(parts[i])
	}
	line := strings.Join(parts, "\t")
	number := fmt.Sprintf("%5d", f.Pos.Line)
	t.Printf("%s %s\n", t.Paint(number+" |", Dim), line)
	t.Printf("%s %s%s\n", t.Paint("      |", Dim), before.String(), t.Paint("^", severityStyle(f.Severity)))
}

func severityStyle(s slo.Severity) style {
	switch s {
	case slo.Error:
		return Red
	case slo.Warning:
		return Yellow
	case slo.Note:
		return Cyan
	}
	return Plain
}

func verdictReason(d *Document) string {
	counts := map[slo.Severity]int{}
	for _, f := range d.Findings {
		counts[f.Severity]++
	}
	return fmt.Sprintf(": %s, %s, %s", Count(counts[slo.Error], "error"), Count(counts[slo.Warning], "warning"), Count(counts[slo.Note], "note"))
}

func (c Check) value() string {
	if c.Ratio == nil {
		return string(c.Status)
	}
	if c.Numerator == nil {
		return fmt.Sprintf("%.4g%%", *c.Ratio*100)
	}
	return fmt.Sprintf("%.4g%% (%d/%d)", *c.Ratio*100, *c.Numerator, *c.Denominator)
}

func statusStyle(s Status) style {
	switch s {
	case Complete:
		return Green
	case Skipped:
		return Yellow
	case Failed:
		return Red
	}
	return Plain
}

func verdictStyle(v Verdict) style {
	switch v {
	case Validated:
		return Green
	case Held:
		return Red
	case Unknown:
		return Yellow
	}
	return Plain
}

// Count says n things in words: 1 error, 2 errors.
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Round prints a duration with about three digits, and units of nothing left away: 2h, not 2h0m0s.
func Round(d time.Duration) string {
	switch {
	case d >= time.Minute:
		text := strings.TrimSuffix(d.Round(time.Second).String(), "m0s")
		if last := text[len(text)-1]; last >= '0' && last <= '9' {
			text += "m"
		}
		if hours, whole := strings.CutSuffix(text, "h0m"); whole {
			return hours + "h"
		}
		return text
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(10 * time.Microsecond).String()
	}
}
