package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/slo"
)

// writeBacktest writes the result in the form that was asked for.
func writeBacktest(w io.Writer, form, dir string, r *backtest.Result) error {
	for k := range r.SLOs {
		if search := r.SLOs[k].Search; search != nil {
			search.Patch = sourcePatch(dir, r.SLOs[k])
		}
	}
	if form == "json" {
		return writeAs(w, form, r)
	}
	p := backtestPage{Text: text(w), markdown: form == "markdown"}
	p.sentences(r)
	p.table("Alerts", tierHeader, tierRows(r))
	p.table("Held", []string{"SLO", "TIER", "TENANTS", "REASON"}, held(r))
	p.table("Incidents", incidentHeader, incidentRows(r))
	p.table("Injected outages", []string{"SLO", "TENANT", "AT", "ERRORS", "FOUND AFTER, BY TIER"}, injectedRows(r))
	p.comparison(r.Comparison)
	p.search(r)
	for _, note := range r.Notes {
		p.Printf("note: %s\n", report.Printable(note))
	}
	p.Printf("%s\n", p.verdict(r))
	return nil
}

// sentences writes a paragraph for each SLO, broken into lines where people read it.
func (p backtestPage) sentences(r *backtest.Result) {
	for _, s := range r.SLOs {
		sentence := report.Printable(r.Sentence(s))
		if !p.markdown {
			sentence = strings.Join(wrapped(sentence, paragraphWidth), "\n")
		}
		p.Printf("%s\n\n", sentence)
	}
}

const paragraphWidth = 100

// wrapped breaks a text between its words into lines of at most so many characters; a longer word has its own. A number
// stays with what it counts.
func wrapped(text string, most int) []string {
	var words, lines []string
	for _, word := range strings.Fields(text) {
		last := len(words) - 1
		if last >= 0 && strings.Trim(words[last], "0123456789.") == "" {
			words[last] += " " + word
			continue
		}
		words = append(words, word)
	}
	for _, word := range words {
		last := len(lines) - 1
		if last >= 0 && utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(word) <= most {
			lines[last] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

func (p backtestPage) verdict(r *backtest.Result) string {
	style := report.Green
	if r.Verdict == backtest.Held {
		style = report.Red
	}
	return p.Paint(strings.ToUpper(string(r.Verdict)), style)
}

type backtestPage struct {
	report.Text
	markdown bool
}

// table writes a table with its title, or nothing where it has no rows.
func (p backtestPage) table(title string, header []string, rows [][]report.Cell) {
	if len(rows) == 0 {
		return
	}
	if !p.markdown {
		p.Printf("%s\n", p.Paint(title, report.Bold))
		p.Table(header, rows)
		p.Printf("\n")
		return
	}
	p.Printf("### %s\n\n| %s |\n|%s\n", title, strings.Join(header, " | "), strings.Repeat(" --- |", len(header)))
	for _, row := range rows {
		p.Printf("|")
		for _, c := range row {
			p.Printf(" %s |", strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(c.Text))
		}
		p.Printf("\n")
	}
	p.Printf("\n")
}

var tierHeader = []string{"SLO, AND ITS TIERS", "ABOVE", "ERRORS", "OVER", "FIRED", "A WEEK", "FOUND", "OUTSIDE", "P50", "P90", "SPENT"}

// tierRows has a row for the pages of each SLO, and below it one for each tier.
func tierRows(r *backtest.Result) [][]report.Cell {
	var rows [][]report.Cell
	for _, s := range r.SLOs {
		rows = append(rows, append(report.Cells(s.Service+"/"+s.Name, "", "", ""), scoreCells(s.Score)...))
		for _, t := range s.Tiers {
			cells := report.Cells("  "+t.Tier+" "+t.Severity, slo.FormatNumber(t.Factor)+"x", slo.FormatPercent(t.ErrorRatio),
				slo.FormatWindow(time.Duration(t.Long))+"/"+slo.FormatWindow(time.Duration(t.Short)))
			rows = append(rows, append(cells, scoreCells(t.Score)...))
		}
	}
	return rows
}

func scoreCells(s backtest.Score) []report.Cell {
	found := fmt.Sprintf("%d of %d", s.Detected+s.Ongoing, s.Incidents)
	cells := report.Cells(fmt.Sprint(s.Firings), fmt.Sprintf("%.1f", s.PerWeek), found,
		fmt.Sprint(s.Unlabelled+s.False), s.DelayP50.Spell(), s.DelayP90.Spell(), share(s.Spent))
	for k := range cells {
		cells[k].Right = true
	}
	return cells
}

// share prints a share of the budget, and a dash for none.
func share(f *float64) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.2g%%", 100**f)
}

// Tables stop where nobody reads on; JSON has all.
const mostRows = 40

var incidentHeader = []string{"SLO", "TENANT", "START", "LASTED", "FOUND BY", "AFTER", "SPENT", "IN ALL", "RESET"}

func incidentRows(r *backtest.Result) [][]report.Cell {
	var rows [][]report.Cell
	more := 0
	for _, s := range r.SLOs {
		for _, i := range s.Incidents {
			if len(rows) == mostRows {
				more++
				continue
			}
			by := "missed"
			switch {
			case i.Ongoing:
				by = "ongoing"
			case i.Detected:
				by = i.Tier
			}
			lasted := backtest.Span(i.End.Sub(i.Start))
			rows = append(rows, report.Cells(s.Service+"/"+s.Name, report.Printable(i.Tenant), i.Start.UTC().Format("2006-01-02 15:04"),
				lasted.Spell(), by, i.Delay.Spell(), share(i.Before), share(&i.Spent), i.Reset.Spell()))
		}
	}
	if more > 0 {
		rows = append(rows, report.Cells(fmt.Sprintf("and %d more: see -o json", more)))
	}
	return rows
}

func injectedRows(r *backtest.Result) [][]report.Cell {
	var rows [][]report.Cell
	for _, i := range r.Injected {
		var tiers []string
		for _, t := range i.Tiers {
			after := t.Delay.Spell()
			switch {
			case t.Ongoing:
				after = "firing already"
			case t.Delay == nil:
				after = "never"
			}
			tiers = append(tiers, t.Tier+" "+after)
		}
		if len(rows) == mostRows {
			return append(rows, report.Cells(fmt.Sprintf("and %d more: see -o json", len(r.Injected)-mostRows)))
		}
		rows = append(rows, report.Cells(i.Service+"/"+i.SLO, report.Printable(i.Tenant), i.At.UTC().Format("2006-01-02 15:04"),
			slo.FormatPercent(i.Ratio), strings.Join(tiers, ", ")))
	}
	return rows
}

func (p backtestPage) comparison(c *backtest.Comparison) {
	if c == nil {
		return
	}
	var rows [][]report.Cell
	for _, s := range c.SLOs {
		for _, side := range []struct {
			name  string
			score backtest.Score
		}{{"new", s.New}, {"old", s.Old}} {
			rows = append(rows, append(report.Cells(s.Service+"/"+s.SLO, side.name), scoreCells(side.score)[:6]...))
		}
	}
	p.table("Beside "+c.Rules, []string{"SLO", "RULES", "FIRED", "A WEEK", "FOUND", "OUTSIDE", "P50", "P90"}, rows)
	rows = nil
	for k, d := range c.Incidents {
		if k == mostRows {
			break
		}
		rows = append(rows, report.Cells(d.Service, report.Printable(d.Tenant), d.Start.UTC().Format("2006-01-02 15:04"), sideText(d.New), sideText(d.Old)))
	}
	p.table("Incident by incident", []string{"SERVICE", "TENANT", "START", "NEW", "OLD"}, rows)
	if c.Unplaced > 0 {
		p.Printf("note: %d firings of %s name none of these SLOs\n", c.Unplaced, report.Printable(c.Rules))
	}
}

func sideText(s backtest.Side) string {
	switch {
	case s.Ongoing:
		return "firing already"
	case s.Detected:
		return s.Delay.Spell()
	}
	return "missed"
}

func (p backtestPage) search(r *backtest.Result) {
	var rows [][]report.Cell
	for _, s := range r.SLOs {
		if s.Search == nil {
			continue
		}
		id := s.Service + "/" + s.Name
		rows = append(rows, candidateCells(id+", as it is", s.Search.Present))
		for _, c := range s.Search.Front {
			rows = append(rows, candidateCells(id, c))
		}
	}
	p.table("Other settings: the best trades of pages against misses and delay; chosen on two thirds, checked on the last",
		[]string{"SLO", "TIER", "ABOVE", "SHORT", "FOR", "MIN FAILED", "PAGES/WEEK", "MISSED", "P50", "THEN PAGES/WEEK", "MISSED", "P50"}, rows)
	for _, s := range r.SLOs {
		if s.Search == nil || s.Search.Proposed == nil {
			continue
		}
		c := s.Search.Proposed
		p.Printf("%s/%s: tier %s above %sx pages %.1f a week, misses %d and finds half within %s; on the held-out third %.1f, %d and %s.\n",
			s.Service, s.Name, c.Tier, slo.FormatNumber(c.Factor), c.Chosen.PerWeek, c.Chosen.Missed, c.Chosen.Delay.Spell(),
			c.Holdout.PerWeek, c.Holdout.Missed, c.Holdout.Delay.Spell())
		fence := ""
		if p.markdown {
			fence = "```"
		}
		p.Printf("%s\n%s%s\n", strings.Replace(fence, "```", "```diff", 1), printableLines(s.Search.Patch), fence)
	}
}

// printableLines keeps line ends and tabs, which a patch needs, and shows other control characters.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for k, line := range lines {
		words := strings.Split(line, "\t")
		for n := range words {
			words[n] = report.Printable(words[n])
		}
		lines[k] = strings.Join(words, "\t")
	}
	return strings.Join(lines, "\n")
}

func candidateCells(id string, c backtest.Candidate) []report.Cell {
	cells := report.Cells(id, c.Tier, slo.FormatNumber(c.Factor)+"x", c.Short.Spell(), c.For.Spell(), fmt.Sprint(c.MinFailures),
		fmt.Sprintf("%.1f", c.Chosen.PerWeek), fmt.Sprint(c.Chosen.Missed), c.Chosen.Delay.Spell(),
		fmt.Sprintf("%.1f", c.Holdout.PerWeek), fmt.Sprint(c.Holdout.Missed), c.Holdout.Delay.Spell())
	for k := 2; k < len(cells); k++ {
		cells[k].Right = true
	}
	return cells
}
