package report

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/slo"
)

// PlotForms are the forms that Plot writes, by the ending of a file's name.
func PlotForms() []string { return []string{"svg", "png"} }

// The picture's size and where its parts stand, in points from the top left.
const (
	plotWidth, plotHeight = 960, 620
	plotRight             = 96 // of the panels: the thresholds' names stand there
	burnTop, burnHeight   = 66, 330
	stripHeight           = 70
	leftHeight            = 132
)

// Plot draws the course of one SLO for one tenant: the burn rate of each window with the thresholds of each tier, below
// them the incidents and when each tier fired, then the budget left. The same trace gives the same bytes.
func Plot(w io.Writer, form string, t *backtest.Trace) error {
	switch form {
	case "svg":
		c := vgsvg.New(plotWidth, plotHeight)
		drawTrace(draw.New(c), t)
		_, err := c.WriteTo(w)
		return err
	case "png":
		c := vgimg.PngCanvas{Canvas: vgimg.New(plotWidth, plotHeight)}
		drawTrace(draw.New(c), t)
		_, err := c.WriteTo(w)
		return err
	}
	return fmt.Errorf("no picture of form %q: write one of %s", form, strings.Join(PlotForms(), ", "))
}

// picture is one trace being drawn.
type picture struct {
	*backtest.Trace
	canvas draw.Canvas
}

func drawTrace(c draw.Canvas, t *backtest.Trace) {
	c.SetColor(white)
	c.Fill(c.Path())
	p := picture{t, c}
	burn, strip, left := p.burnPanel(), p.stripPanel(), p.leftPanel()
	top := vg.Length(burnTop)
	areas := []draw.Canvas{p.area(top, burnHeight), p.area(top+burnHeight, stripHeight), p.area(top+burnHeight+stripHeight, leftHeight)}
	panels := []*plot.Plot{burn, strip, left}
	edge := vg.Length(0) // where the widest labels end: there all panels begin
	for k, panel := range panels {
		edge = max(edge, panel.DataCanvas(areas[k]).Min.X)
	}
	for k, panel := range panels {
		panel.Draw(draw.Crop(areas[k], edge-panel.DataCanvas(areas[k]).Min.X, 0, 0, 0))
	}
	p.heading(edge)
}

// area is a strip of the canvas.
func (p picture) area(top, height vg.Length) draw.Canvas {
	return draw.Crop(p.canvas, 12, -plotRight, plotHeight-top-height, -top)
}

// heading says what is shown, and what the lines are.
func (p picture) heading(x vg.Length) {
	o, score := p.Objective, p.Tenant.Score
	title := fmt.Sprintf("%s/%s promises %s over %s", o.Service, o.Name, o.Target, slo.FormatWindow(o.Window))
	if p.Tenant.Name != "" {
		title += ", tenant " + p.Tenant.Name
	}
	found := fmt.Sprintf("%s, found %d of %s", Count(score.Pages, "page"), score.Detected+score.Ongoing, Count(score.Incidents, "incident"))
	if outside := score.Unlabelled + score.False; outside > 0 {
		found += fmt.Sprintf(", %d pages outside", outside)
	}
	y := p.canvas.Max.Y
	p.canvas.FillText(lettering(15, black, draw.XLeft, draw.YTop), vg.Point{X: x, Y: y - 10}, legible(title, 96))
	p.canvas.FillText(lettering(10, grey, draw.XLeft, draw.YTop), vg.Point{X: x, Y: y - 31}, found+". "+p.budgetSpent())
	y -= 55
	for _, window := range p.windows() {
		line := draw.LineStyle{Color: window.color, Width: window.width * 1.5}
		p.canvas.StrokeLine2(line, x, y, x+16, y)
		label := lettering(10, black, draw.XLeft, draw.YCenter)
		p.canvas.FillText(label, vg.Point{X: x + 21, Y: y}, window.name)
		x += 21 + label.Width(window.name) + 16
	}
}

func (p picture) budgetSpent() string {
	return fmt.Sprintf("It spent %.3g%% of one %s budget.", 100*p.Tenant.Spent, slo.FormatWindow(p.Objective.Window))
}

// legible bounds a text that labels have a say in.
func legible(s string, most int) string {
	runes := []rune(Printable(s))
	if len(runes) <= most {
		return string(runes)
	}
	return string(runes[:most-1]) + "…"
}

// ink is a colour written as red, green, blue and opacity. It implements color.Color.
type ink uint32

// RGBA implements color.Color.
func (i ink) RGBA() (r, g, b, a uint32) {
	return color.NRGBA{R: uint8(i >> 24), G: uint8(i >> 16), B: uint8(i >> 8), A: uint8(i)}.RGBA()
}

const (
	white   ink = 0xffffffff
	black   ink = 0x000000ff
	grey    ink = 0x555555ff
	faint   ink = 0xe2e2e2ff
	other   ink = 0x808080a0 // a window of no tier
	shade   ink = 0xf6a62350 // an incident's
	hit     ink = 0xd97d00ff // an incident in its own row
	healthy ink = 0x2e7d32ff
	opacity ink = 0xff
	light   ink = 0x50
)

// tierColors are told apart by those who see no red or green, too.
var tierColors = []ink{0xc62828ff, 0x1565c0ff, 0x6a1b9aff, 0x00695cff}

func tierColor(k int) ink { return tierColors[k%len(tierColors)] }

func lettering(size vg.Length, c color.Color, x text.XAlignment, y text.YAlignment) text.Style {
	return text.Style{Color: c, Font: font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size), XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler}
}

// window is one line of the upper panel.
type window struct {
	length time.Duration
	name   string
	color  ink
	width  vg.Length
}

// windows are those of tiers first, each in its tier's colour: the long one strong, the short one light. Then the others.
func (p picture) windows() []window {
	var all []window
	add := func(length time.Duration, name string, c ink, width vg.Length) {
		known := slices.ContainsFunc(all, func(w window) bool { return w.length == length })
		if _, recorded := p.Burn[length]; recorded && !known {
			all = append(all, window{length, slo.FormatWindow(length) + name, c, width})
		}
	}
	for k, t := range p.Objective.Policy.Tiers {
		strong := tierColor(k)
		add(t.Long, " ("+t.Name+")", strong, 1.2)
		add(t.Short, " ("+t.Name+", short)", strong&^opacity|light, 0.6)
	}
	for _, length := range p.Objective.Record {
		add(length, "", other, 0.6)
	}
	return all
}

// panel has the time axis that all panels share.
func (p picture) panel(label string) *plot.Plot {
	panel := plot.New()
	panel.X.Min, panel.X.Max = seconds(p.Ticks.At(0)), seconds(p.Ticks.At(max(1, p.Ticks.N-1)))
	panel.X.Tick.Marker = days{}
	panel.X.Padding, panel.Y.Padding = 0, 0
	panel.Y.Label.Text = label
	panel.Y.Label.TextStyle = lettering(10, grey, draw.XCenter, draw.YBottom)
	panel.X.Label.TextStyle = lettering(10, grey, draw.XCenter, draw.YTop)
	for _, axis := range []*plot.Axis{&panel.X, &panel.Y} {
		axis.Color, axis.Tick.Color = grey, grey
		axis.Tick.Label.Font = lettering(9, black, 0, 0).Font
		axis.Tick.Length = 4
	}
	return panel
}

func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

// burnPanel shows burn rates on a logarithmic axis. What is below its foot lies on it.
func (p picture) burnPanel() *plot.Plot {
	panel := p.panel("burn rate")
	panel.Y.Scale = plot.LogScale{}
	panel.Y.Min, panel.Y.Max = 0.1, p.ceiling()
	panel.Y.Tick.Marker = tens{}
	panel.X.Tick.Marker = unnamed{days{}}
	panel.Add(grid{}, p.incidentBands(shade))
	for _, w := range slices.Backward(p.windows()) { // what is named first lies on top
		panel.Add(course{p.Trace, p.Burn[w.length], draw.LineStyle{Color: w.color, Width: w.width}})
	}
	for k, t := range p.Objective.Policy.Tiers {
		panel.Add(threshold{t, tierColor(k)})
	}
	return panel
}

// ceiling is the round number above all that is shown.
func (p picture) ceiling() float64 {
	highest := 10.0
	for _, t := range p.Objective.Policy.Tiers {
		highest = max(highest, t.Factor)
	}
	for _, column := range p.Burn {
		for _, v := range column {
			if v > highest && !math.IsInf(v, 1) {
				highest = v
			}
		}
	}
	unit := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, round := range []float64{1, 2, 5} {
		if round*unit >= highest*1.05 {
			return round * unit
		}
	}
	return 10 * unit
}

// stripPanel has a row for the incidents and one for each tier's firings.
func (p picture) stripPanel() *plot.Plot {
	tiers := p.Objective.Policy.Tiers
	panel := p.panel("")
	panel.Y.Min, panel.Y.Max = 0, float64(len(tiers)+1)
	ticks := plot.ConstantTicks{{Value: float64(len(tiers)) + 0.5, Label: "incidents"}}
	panel.Add(bands{spans: p.incidentBands(hit).spans, color: hit, row: len(tiers), strip: true})
	for k, t := range tiers {
		row := len(tiers) - 1 - k
		ticks = append(ticks, plot.Tick{Value: float64(row) + 0.5, Label: t.Name + " fired"})
		panel.Add(bands{spans: p.firings(t.Name), color: tierColor(k), row: row, strip: true})
	}
	panel.Y.Tick.Marker = ticks
	panel.Y.Tick.Length = 0
	panel.X.Tick.Marker = unnamed{days{}}
	return panel
}

// leftPanel shows the budget left.
func (p picture) leftPanel() *plot.Plot {
	panel := p.panel("budget left")
	low, high := 0.0, 1.0
	for _, v := range p.Left {
		low = min(low, v)
	}
	panel.Y.Min, panel.Y.Max = math.Floor(low*4)/4, high
	panel.Y.Tick.Marker = percents{}
	panel.X.Label.Text = fmt.Sprintf("UTC, %s to %s", stamp(p.Ticks.At(0)), stamp(p.Ticks.At(p.Ticks.N-1)))
	panel.Add(grid{}, p.incidentBands(shade), course{p.Trace, p.Left, draw.LineStyle{Color: healthy, Width: 1.4}})
	return panel
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02 15:04") }

func (p picture) incidentBands(c ink) bands {
	all := bands{color: c}
	for _, i := range p.Incidents {
		all.spans = append(all.spans, [2]float64{seconds(i.Start), seconds(i.End)})
	}
	return all
}

// firings of a tier; one without an end goes on.
func (p picture) firings(tier string) [][2]float64 {
	var all [][2]float64
	for _, r := range p.Tenant.Rules {
		if r.Tier != tier {
			continue
		}
		for _, f := range r.Firings {
			end := f.End
			if end.IsZero() {
				end = p.Ticks.At(p.Ticks.N)
			}
			all = append(all, [2]float64{seconds(f.Start), seconds(end)})
		}
	}
	return all
}
