package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// WriteMarkdown writes a verification as a comment for a pull request: the verdict first, what must be looked at next,
// and the rest folded away.
func WriteMarkdown(w io.Writer, d *Document) error {
	m := &markdown{}
	m.line("## slowburn: %s%s", d.Verdict, verdictReason(d))
	m.checks(d)
	m.revision(d.Revision)
	m.findings(d.Findings)
	m.folded("Who is told", len(d.Coverage), func() { m.coverage(d.Coverage) })
	m.folded("Can each alert fire?", len(d.Proofs), func() { m.proofs(d.Proofs) })
	if d.Detection != nil {
		m.folded("Deployed rules beside generated ones", len(d.Detection.Duels), func() { m.duels(d.Detection.Duels) })
	}
	if d.Cardinality != nil {
		m.folded("Series", 1, func() { m.series(d.Cardinality) })
	}
	m.folded("Phases", 1, func() { m.phases(d) })
	m.line("")
	m.line("<sub>slowburn %s, run %s</sub>", cell(d.Version), cell(d.ExecutionID))
	_, err := io.WriteString(w, m.b.String())
	if err != nil {
		return fmt.Errorf("write markdown: %w", err)
	}
	return nil
}

// markdown gathers lines.
type markdown struct{ b strings.Builder }

func (m *markdown) line(format string, args ...any) { fmt.Fprintf(&m.b, format+"\n", args...) }

func (m *markdown) row(cells ...string) {
	for k := range cells {
		cells[k] = cell(cells[k])
	}
	m.line("| %s |", strings.Join(cells, " | "))
}

func (m *markdown) head(cells ...string) {
	m.line("")
	m.row(cells...)
	m.line("|%s", strings.Repeat(" --- |", len(cells)))
}

// folded writes a part that opens at a click; none where there is nothing in it.
func (m *markdown) folded(title string, n int, body func()) {
	if n == 0 {
		return
	}
	m.line("")
	m.line("<details><summary>%s</summary>", title)
	body()
	m.line("")
	m.line("</details>")
}

// cell keeps text inside its cell and free of anything that Markdown or HTML would act on: labels and file names are
// anybody's.
func cell(s string) string {
	var b strings.Builder
	for _, c := range Printable(s) {
		switch c {
		case '|', '`', '*', '_', '[', ']', '\\', '~', '#', '@':
			fmt.Fprintf(&b, "&#%d;", c)
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '&':
			b.WriteString("&amp;")
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func (m *markdown) checks(d *Document) {
	m.head("check", "result", "")
	for _, c := range d.Validation.List() {
		m.row(c.Name, c.value(), c.Detail)
	}
}

func (m *markdown) findings(all []slo.Finding) {
	if len(all) == 0 {
		return
	}
	m.head("severity", "where", "what", "rule")
	for k, f := range all {
		if k == maxMarkdown {
			m.row("", "", fmt.Sprintf("and %d more", len(all)-k), "")
			break
		}
		what := f.Message
		if f.Remedy != "" {
			what += "; " + f.Remedy
		}
		m.row(f.Severity.String(), f.Pos.String(), what, f.Rule)
	}
}

// maxMarkdown bounds each table: a comment of more than 65,536 characters is refused by the code hosts.
const maxMarkdown = 50

func (m *markdown) revision(r *Revision) {
	if r == nil {
		return
	}
	m.line("")
	m.line("### Beside %s", cell(r.Base))
	m.head("", "before", "after")
	for _, row := range r.rows() {
		m.row(row...)
	}
	for _, c := range r.Contract {
		m.line("")
		m.line("- %s", cell(c))
	}
	for _, part := range []struct {
		title string
		pages []Page
	}{{"Pages gained", r.PagesGained}, {"Pages lost", r.PagesLost}} {
		m.folded(fmt.Sprintf("%s: %d", part.title, len(part.pages)), len(part.pages), func() { m.pages(part.pages) })
	}
	for _, part := range []struct {
		title string
		duels []Duel
	}{{"Incidents found that were missed", r.IncidentsGained}, {"Incidents missed that were found", r.IncidentsLost}, {"Incidents found sooner or later", r.Detection}} {
		m.folded(fmt.Sprintf("%s: %d", part.title, len(part.duels)), len(part.duels), func() { m.duels(part.duels) })
	}
	for _, n := range r.Notes {
		m.line("")
		m.line("%s", cell(n))
	}
}

// rows sets two standings beside each other.
func (r *Revision) rows() [][]string {
	a, b := r.Before, r.After
	number := func(name string, x, y int64) []string { return []string{name, fmt.Sprint(x), fmt.Sprint(y)} }
	rows := [][]string{
		number("SLOs", int64(a.SLOs), int64(b.SLOs)), number("alerts", int64(a.Alerts), int64(b.Alerts)),
		number("pages", int64(a.Pages), int64(b.Pages)), {"incidents found", a.found(), b.found()},
		{"median delay", spell(a.Delay), spell(b.Delay)}, number("series", int64(a.Series), int64(b.Series)),
		number("samples a tick", a.Samples, b.Samples),
	}
	return rows
}

func (s Standing) found() string { return fmt.Sprintf("%d of %d", s.Found, s.Incidents) }

// spell prints a delay, and a dash for none.
func spell(d *Seconds) string {
	if d == nil {
		return "-"
	}
	return Round(time.Duration(*d))
}

func (m *markdown) pages(all []Page) {
	m.head("SLO", "tenant", "alert", "from", "for")
	for _, p := range all[:min(maxMarkdown, len(all))] {
		m.row(p.of(), p.Tenant, p.Alert, p.Start.Format(time.RFC3339), p.lasted())
	}
}

func (p Page) of() string { return strings.TrimSuffix(p.Service+"/"+p.SLO, "/") }

func (p Page) lasted() string {
	if p.End.IsZero() {
		return "to the end"
	}
	return Round(p.End.Sub(p.Start))
}

func (m *markdown) duels(all []Duel) {
	m.head("SLO", "tenant", "incident", "lasted", "before", "after")
	for _, d := range all[:min(maxMarkdown, len(all))] {
		m.row(d.Service+"/"+d.SLO, d.Tenant, d.Start.Format(time.RFC3339), Round(d.End.Sub(d.Start)), d.Old.String(), d.New.String())
	}
}

// String says how a side met the incident.
func (s Side) String() string {
	switch {
	case !s.Found:
		return "missed"
	case s.Delay == nil:
		return "firing before"
	}
	return Round(time.Duration(*s.Delay))
}

func (m *markdown) coverage(all []Coverage) {
	m.head("service", "SLO", "tier", "tenant", "alert", "route", "receivers", "")
	for _, c := range all {
		m.row(c.Service, c.SLO, c.Tier, c.Tenant, c.Alert, c.Route, strings.Join(c.Receivers, ", "), string(c.State))
	}
}

func (m *markdown) proofs(all []Proof) {
	m.head("alert", "rules", "fires", "in a total outage", "")
	for _, p := range all[:min(maxMarkdown, len(all))] {
		m.row(p.of(), p.Rules, string(p.Fires), p.times(), strings.Join(p.Faults, "; "))
	}
}

func (p Proof) of() string {
	if p.Tier == "" {
		return p.Alert
	}
	return fmt.Sprintf("%s/%s %s", p.Service, p.SLO, p.Tier)
}

func (p Proof) times() string {
	if p.Fastest == nil {
		return "-"
	}
	if *p.Fastest == *p.Slowest {
		return "in " + spell(p.Fastest)
	}
	return "in " + spell(p.Fastest) + " to " + spell(p.Slowest)
}

func (m *markdown) series(c *Cardinality) {
	m.line("")
	m.line("%d of %d series: %d scraped, %d recorded, %d of alerts. Each more tenant adds %d; %d fit besides. %d samples are touched a tick.",
		c.Total, c.Limit, c.Scraped, c.Recorded, c.Alerts, c.PerTenant, c.Room, c.Cost.Samples)
	if len(c.Savings) == 0 {
		return
	}
	m.head("could go", "series", "why")
	for _, s := range c.Savings {
		m.row(s.Drop, fmt.Sprint(s.Series), s.Why)
	}
}

func (m *markdown) phases(d *Document) {
	m.head("phase", "status", "time", "")
	for _, p := range d.Phases.List() {
		m.row(p.Name, string(p.Status), Round(time.Duration(p.Duration)), p.Detail)
	}
}
