package report

import (
	"math"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/slo"
)

// course is one column as a line. It implements plot.Plotter.
type course struct {
	trace  *backtest.Trace
	column []float64
	line   draw.LineStyle
}

// Plot implements plot.Plotter. Values beyond the axis lie on its end; where there are none, the line breaks.
func (l course) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	ticks := l.trace.Ticks
	var lines [][]vg.Point
	for _, run := range thin(l.column, 2*int(c.Max.X-c.Min.X)) {
		line := make([]vg.Point, 0, len(run)+1)
		for _, k := range run {
			v := min(p.Y.Max, max(p.Y.Min, l.column[k]))
			line = append(line, vg.Point{X: x(seconds(ticks.At(k))), Y: y(v)})
		}
		if len(line) == 1 { // a lonely value is seen as a dot
			line = append(line, vg.Point{X: line[0].X + 0.5, Y: line[0].Y})
		}
		lines = append(lines, line)
	}
	c.StrokeLines(l.line, lines...)
}

// thin chooses what to draw of a column: all of it where it has at most n values, else the least and the greatest of
// each of n/2 equal pieces, so that no peak is lost. A piece without any value ends a run, as does an absent value
// where nothing is left out.
func thin(column []float64, n int) [][]int {
	size := 1
	if len(column) > n {
		size = (2*len(column) + n - 1) / max(1, n)
	}
	var runs [][]int
	open := false
	for from := 0; from < len(column); from += size {
		low, high := extremes(column, from, min(len(column), from+size))
		if open = open && low >= 0; low < 0 {
			continue
		}
		if !open {
			runs, open = append(runs, nil), true
		}
		last := len(runs) - 1
		runs[last] = append(runs[last], min(low, high))
		if low != high {
			runs[last] = append(runs[last], max(low, high))
		}
	}
	return runs
}

// extremes are the places of the least and the greatest value; -1 where there is none.
func extremes(column []float64, from, to int) (low, high int) {
	low, high = -1, -1
	for k := from; k < to; k++ {
		if v := column[k]; evaluator.Absent(v) || math.IsNaN(v) {
			continue
		}
		if low < 0 || column[k] < column[low] {
			low = k
		}
		if high < 0 || column[k] > column[high] {
			high = k
		}
	}
	return low, high
}

// bands are stretches of time, over the whole height or in one row of a strip. It implements plot.Plotter.
type bands struct {
	spans [][2]float64
	color ink
	strip bool
	row   int
}

// narrowest is what a stretch of time takes at least, so that a short one is seen in a month.
const narrowest = 1.6

// Plot implements plot.Plotter.
func (b bands) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	bottom, top := c.Min.Y, c.Max.Y
	if b.strip {
		bottom, top = y(float64(b.row)+0.15), y(float64(b.row)+0.85)
	}
	for _, s := range b.spans {
		from, to := max(c.Min.X, x(s[0])), min(c.Max.X, x(s[1]))
		if from > c.Max.X || to < c.Min.X {
			continue
		}
		if to-from < narrowest {
			from, to = (from+to-narrowest)/2, (from+to+narrowest)/2
		}
		c.FillPolygon(b.color, []vg.Point{{X: from, Y: bottom}, {X: to, Y: bottom}, {X: to, Y: top}, {X: from, Y: top}})
	}
}

// threshold is a tier's, as a dashed line with its name at the right. It implements plot.Plotter.
type threshold struct {
	tier  slo.Tier
	color ink
}

// Plot implements plot.Plotter.
func (t threshold) Plot(c draw.Canvas, p *plot.Plot) {
	_, y := p.Transforms(&c)
	at := y(t.tier.Factor)
	c.StrokeLine2(draw.LineStyle{Color: t.color, Width: 1, Dashes: []vg.Length{5, 3}}, c.Min.X, at, c.Max.X, at)
	c.FillText(lettering(9, t.color, draw.XLeft, draw.YCenter), vg.Point{X: c.Max.X + 5, Y: at}, legible(t.tier.Name+" > "+slo.FormatNumber(t.tier.Factor)+"x", 20))
}

// grid draws a faint line at each labelled tick. It implements plot.Plotter.
type grid struct{}

// Plot implements plot.Plotter.
func (grid) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	line := draw.LineStyle{Color: faint, Width: 0.5}
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		c.StrokeLine2(line, x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
	}
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if !t.IsMinor() {
			c.StrokeLine2(line, c.Min.X, y(t.Value), c.Max.X, y(t.Value))
		}
	}
	if p.Y.Min < 0 {
		c.StrokeLine2(draw.LineStyle{Color: grey, Width: 0.8}, c.Min.X, y(0), c.Max.X, y(0))
	}
}

// tens marks the powers of ten of a burn rate. It implements plot.Ticker.
type tens struct{}

// Ticks implements plot.Ticker.
func (tens) Ticks(low, high float64) []plot.Tick {
	var all []plot.Tick
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		unit := math.Pow(10, e)
		for k := range 9 {
			tick := plot.Tick{Value: unit * float64(k+1)}
			if k == 0 {
				tick.Label = slo.FormatNumber(unit) + "x"
			}
			if tick.Value >= low*0.999 && tick.Value <= high*1.001 {
				all = append(all, tick)
			}
		}
	}
	return all
}

// percents marks shares of a budget. It implements plot.Ticker.
type percents struct{}

// Ticks implements plot.Ticker.
func (percents) Ticks(low, high float64) []plot.Tick {
	step := 0.25
	for (high-low)/step > 6 {
		step *= 2
	}
	var all []plot.Tick
	for v := math.Ceil(low/step) * step; v <= high+step/2; v += step {
		all = append(all, plot.Tick{Value: v, Label: slo.FormatPercent(v)})
	}
	return all
}

// days marks the time at round moments in UTC. It implements plot.Ticker.
type days struct{}

// Ticks implements plot.Ticker.
func (days) Ticks(from, to float64) []plot.Tick {
	const day = 24 * time.Hour
	step := day
	for _, step = range []time.Duration{
		time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
		day, 2 * day, 7 * day, 14 * day, 28 * day, 91 * day, 364 * day,
	} {
		if (to-from)/step.Seconds() <= 16 {
			break
		}
	}
	form := "15:04"
	if step >= day {
		form = "Jan 2"
	}
	var all []plot.Tick
	for at := time.Unix(int64(from), 0).UTC().Truncate(step); seconds(at) <= to; at = at.Add(step) {
		if seconds(at) < from {
			continue
		}
		label := at.Format(form)
		if step < day && (len(all) == 0 || at.Truncate(day).Equal(at)) {
			label = at.Format("Jan 2 15:04")
		}
		all = append(all, plot.Tick{Value: seconds(at), Label: label})
	}
	return all
}

// unnamed marks without words. It implements plot.Ticker.
type unnamed struct{ plot.Ticker }

// Ticks implements plot.Ticker.
func (u unnamed) Ticks(low, high float64) []plot.Tick {
	all := u.Ticker.Ticks(low, high)
	for k := range all {
		all[k].Label = ""
	}
	return all
}
