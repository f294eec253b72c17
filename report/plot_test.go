package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/value"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/slo"
)

// trace is a month at one-minute ticks, calm but for one minute that burns 150 times too fast.
func trace(tenant string) *backtest.Trace {
	start := time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)
	t := &backtest.Trace{
		Objective: slo.Objective{Service: "api", Name: "availability", Target: 0.995, Window: 30 * 24 * time.Hour, Policy: slo.DefaultPolicy()},
		Tenant:    backtest.Tenant{Name: tenant, Spent: 0.25},
		Ticks:     evaluator.Ticks{Start: start, Interval: time.Minute, N: 30 * 24 * 60},
		Burn:      map[time.Duration][]float64{},
	}
	for _, w := range t.Objective.Policy.Windows() {
		t.Burn[w] = slices.Repeat([]float64{0.5}, t.Ticks.N)
	}
	t.Burn[5*time.Minute][20_001] = 150
	t.Left = slices.Repeat([]float64{0.75}, t.Ticks.N)
	t.Incidents = []backtest.Found{{Incident: backtest.Incident{Start: t.Ticks.At(20_000), End: t.Ticks.At(20_030)}}}
	t.Tenant.Rules = []backtest.Rule{{Tier: "fast", Firings: []backtest.Firing{{Start: t.Ticks.At(20_002)}}}}
	return t
}

func plotted(t *testing.T, form string, of *backtest.Trace) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Plot(&b, form, of); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPlotIsTheSameEachTime(t *testing.T) {
	for _, form := range PlotForms() {
		if !bytes.Equal(plotted(t, form, trace("acme")), plotted(t, form, trace("acme"))) {
			t.Errorf("%s: two runs, two pictures", form)
		}
	}
}

func TestPlotSize(t *testing.T) {
	picture, err := png.Decode(bytes.NewReader(plotted(t, "png", trace("acme"))))
	if err != nil {
		t.Fatal(err)
	}
	if size := picture.Bounds().Size(); size.X < 1000 || size.X > 2000 || size.Y < 600 {
		t.Errorf("%v is no size for a report", size)
	}
	if n := len(plotted(t, "svg", trace("acme"))); n > 200_000 {
		t.Errorf("%d bytes for a month", n)
	}
}

// What labels say becomes text, whatever it is.
func TestPlotEscapes(t *testing.T) {
	for _, tenant := range []string{
		"", "acme", `<script>alert("1")</script>`, "</text></svg>", "a&b", "two\nlines", "\x1b[31mred", "株式会社 🔥", "\xff\xfe",
		strings.Repeat("long", 500), `"><image href="http://example.org/"/>`,
	} {
		for _, form := range PlotForms() {
			picture := plotted(t, form, trace(tenant))
			if form != "svg" {
				continue
			}
			if bytes.Contains(picture, []byte("<script")) || bytes.Contains(picture, []byte("<image")) {
				t.Errorf("tenant %q stands in the picture as it is", tenant)
			}
			if err := wellFormed(picture); err != nil {
				t.Errorf("tenant %q: %v", tenant, err)
			}
		}
	}
}

func wellFormed(picture []byte) error {
	d := xml.NewDecoder(bytes.NewReader(picture))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestPlotShowsTiersAndTimes(t *testing.T) {
	picture := string(plotted(t, "svg", trace("acme")))
	for _, want := range []string{"tenant acme", "fast &gt; 14.4x", "medium &gt; 6x", "incidents", "fast fired", "Jan 11", "5m (fast, short)", "2026-01-05 00:00"} {
		if !strings.Contains(picture, want) {
			t.Errorf("no %q in the picture", want)
		}
	}
}

func TestPlotWithoutValues(t *testing.T) {
	empty := trace("acme")
	for _, column := range empty.Burn {
		for k := range column {
			column[k] = math.Float64frombits(value.StaleNaN)
		}
	}
	empty.Incidents, empty.Tenant.Rules = nil, nil
	short := trace("acme")
	short.Ticks.N = 1
	for w := range short.Burn {
		short.Burn[w] = []float64{math.Inf(1)}
	}
	short.Left = []float64{-3}
	for _, one := range []*backtest.Trace{empty, short} {
		for _, form := range PlotForms() {
			plotted(t, form, one)
		}
	}
}

func TestPlotForm(t *testing.T) {
	err := Plot(io.Discard, "gif", trace("acme"))
	if err == nil || !strings.Contains(err.Error(), "svg, png") {
		t.Errorf("%v names no form that there is", err)
	}
}

// However few points are drawn, each piece's least and greatest are among them, and gaps stay gaps.
func TestThinKeepsExtremes(t *testing.T) {
	absent := math.Float64frombits(value.StaleNaN)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		column := make([]float64, 1+random.IntN(5000))
		low, high := math.Inf(1), math.Inf(-1)
		for k := range column {
			if column[k] = random.NormFloat64(); random.IntN(4) == 0 {
				column[k] = absent
				continue
			}
			low, high = min(low, column[k]), max(high, column[k])
		}
		n := 2 + random.IntN(1000)
		drawn, gotLow, gotHigh, last := 0, math.Inf(1), math.Inf(-1), -1
		for _, run := range thin(column, n) {
			for _, k := range run {
				if k <= last || evaluator.Absent(column[k]) {
					t.Fatalf("point %d after %d of %d", k, last, len(column))
				}
				last = k
				drawn++
				gotLow, gotHigh = min(gotLow, column[k]), max(gotHigh, column[k])
			}
		}
		if gotLow != low || gotHigh != high {
			t.Fatalf("%d values, room for %d: drawn from %g to %g, want %g to %g", len(column), n, gotLow, gotHigh, low, high)
		}
		if drawn > n+2 {
			t.Fatalf("%d points drawn, room for %d", drawn, n)
		}
	}
	if runs := thin([]float64{1, absent, 2, 3}, 10); len(runs) != 2 {
		t.Errorf("a gap is drawn over: %v", runs)
	}
}
