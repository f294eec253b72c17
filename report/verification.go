package report

import (
	"strings"
	"time"
)

// Document writes a verification so that it can be taken in at a glance: phases, checks, what they found, verdict. The
// verdict stands last, where a terminal leaves it in sight.
func (t Text) Document(d *Document) {
	var phases [][]Cell
	for _, p := range d.Phases.List() {
		phases = append(phases, []Cell{
			{Text: p.Name}, {Text: string(p.Status), Style: statusStyle(p.Status)},
			{Text: Round(time.Duration(p.Duration)), Right: true}, {Text: p.Detail},
		})
	}
	t.table([]string{"PHASE", "STATUS", "TIME", "DETAIL"}, phases)
	t.Printf("\n")
	var checks [][]Cell
	for _, c := range d.Validation.List() {
		checks = append(checks, []Cell{{Text: c.Name}, {Text: c.value(), Style: statusStyle(c.Status), Right: true}, {Text: c.Detail}})
	}
	t.table([]string{"CHECK", "RESULT", "DETAIL"}, checks)
	t.coverage(d.Coverage)
	t.proofs(d.Proofs)
	t.revision(d.Revision)
	if len(d.Findings) > 0 {
		t.Printf("\n")
		t.Findings(d.Findings)
	}
	t.Printf("\n%s\n", t.Paint(strings.ToUpper(string(d.Verdict))+verdictReason(d), verdictStyle(d.Verdict)))
}

// table writes a table whose last column is wrapped to the terminal.
func (t Text) table(header []string, rows [][]Cell) {
	last := len(header) - 1
	room := t.Width - 1
	for k := range last {
		most := width(header[k])
		for _, row := range rows {
			most = max(most, width(Printable(row[k].Text)))
		}
		room -= most + 2
	}
	if t.Width == 0 || room < minWrap {
		t.Table(header, rows)
		return
	}
	var wrapped [][]Cell
	for _, row := range rows {
		for k, line := range wrap(Printable(row[last].Text), room) {
			if k > 0 {
				row = make([]Cell, len(row))
			}
			one := append([]Cell{}, row...)
			one[last].Text = line
			wrapped = append(wrapped, one)
		}
	}
	t.Table(header, wrapped)
}

// minWrap is the narrowest column that is worth wrapping; below it the terminal's own wrapping reads better.
const minWrap = 20

// wrap breaks text at blanks into lines of at most so many columns; a longer word stands alone.
func wrap(text string, columns int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		at := len(lines) - 1
		switch {
		case lines[at] == "":
			lines[at] = word
		case width(lines[at])+1+width(word) <= columns:
			lines[at] += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

// coverage writes who is told, service by service.
func (t Text) coverage(all []Coverage) {
	if len(all) == 0 {
		return
	}
	var rows [][]Cell
	for _, c := range all {
		style := Green
		switch c.State {
		case NoReceiver, NoAlert:
			style = Red
		case NoRoute, NoSLO:
			style = Yellow
		case Reaches:
		}
		rows = append(rows, []Cell{
			{Text: c.Service}, {Text: dash(c.SLO)}, {Text: dash(strings.TrimSpace(c.Tier + " " + c.Severity))}, {Text: dash(c.Tenant)},
			{Text: dash(strings.Join(c.Receivers, ", "))}, {Text: string(c.State), Style: style},
		})
	}
	t.Printf("\n")
	t.table([]string{"SERVICE", "SLO", "ALERT", "TENANT", "RECEIVERS", "STATE"}, rows)
}

// proofs writes whether each alert can fire. Where nothing was tried and nothing is wrong, there is nothing to show.
func (t Text) proofs(all []Proof) {
	var rows [][]Cell
	for _, p := range all {
		if p.Fires == Untried {
			continue
		}
		style := Green
		if p.Fires == No {
			style = Red
		}
		rows = append(rows, []Cell{{Text: p.of()}, {Text: p.Rules}, {Text: string(p.Fires), Style: style}, {Text: p.times()}, {Text: dash(strings.Join(p.Faults, "; "))}})
	}
	if len(rows) == 0 {
		return
	}
	t.Printf("\n")
	t.table([]string{"ALERT", "RULES", "FIRES", "TOTAL OUTAGE", "FAULTS"}, rows)
}

func (t Text) revision(r *Revision) {
	if r == nil {
		return
	}
	var rows [][]Cell
	for _, row := range r.rows() {
		rows = append(rows, []Cell{{Text: row[0]}, {Text: row[1], Right: true}, {Text: row[2], Right: true}})
	}
	t.Printf("\n")
	t.Table([]string{"BESIDE " + Printable(r.Base), "BEFORE", "AFTER"}, rows)
	for _, c := range r.Contract {
		t.Printf("%s\n", Printable(c))
	}
	t.pages("page gained", r.PagesGained, Red)
	t.pages("page lost", r.PagesLost, Green)
	t.duels("found, was missed", r.IncidentsGained, Green)
	t.duels("missed, was found", r.IncidentsLost, Red)
	t.duels("found at another time", r.Detection, Plain)
	for _, n := range r.Notes {
		t.Printf("%s\n", Printable(n))
	}
}

func (t Text) pages(what string, all []Page, as style) {
	for _, p := range all {
		t.Printf("%s: %s %s %s, tier %s, %s\n", t.Paint(what, as), Printable(p.of()), Printable(dash(p.Tenant)), p.Start.Format(time.RFC3339), Printable(p.Alert), p.lasted())
	}
}

func (t Text) duels(what string, all []Duel, as style) {
	for _, d := range all {
		t.Printf("%s: %s/%s %s %s, %s before, %s after\n", t.Paint(what, as), Printable(d.Service), Printable(d.SLO), Printable(dash(d.Tenant)), d.Start.Format(time.RFC3339), d.Old, d.New)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
