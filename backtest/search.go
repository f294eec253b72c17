package backtest

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/slo"
)

// Search is what other settings of one tier at a time would have done. The first two thirds of the history choose, the
// last third tells whether the choice holds where it was not made.
type Search struct {
	Split    time.Time   `json:"holdout_start"`
	Tried    int         `json:"tried"`
	Present  Candidate   `json:"present"`
	Front    []Candidate `json:"front"` // those that no other beats in pages, misses and delay at once, fewest pages first
	Proposed *Candidate  `json:"proposed,omitempty"`
	Patch    string      `json:"patch,omitempty"` // of the source, which the caller reads: see Patch
}

// Candidate is a setting of one tier, the others left as they are, with its outcome in both parts of the history.
type Candidate struct {
	Tier        string  `json:"tier"`
	Factor      float64 `json:"factor"`
	Short       Span    `json:"short_seconds"`
	For         Span    `json:"for_seconds"`
	MinFailures int     `json:"min_failures"`
	Chosen      Trade   `json:"chosen_on"`
	Holdout     Trade   `json:"holdout"`
	sayable     bool    // a contract can say it today, and the tiers stay in order
	worst       float64 // pages a week outside incidents, of the tenant that gets most by this tier
}

// Trade is what is traded against each other: pages, and incidents found late or not at all. Pages of several tiers
// outside incidents count each, so that PerWeek is an upper bound.
type Trade struct {
	PerWeek  float64 `json:"pages_per_week"`
	Outside  int     `json:"pages_outside_incidents"`
	Detected int     `json:"detected"`
	Ongoing  int     `json:"ongoing"` // incidents that began while an alert was firing already
	Missed   int     `json:"missed"`
	Lost     float64 `json:"missed_budget"` // shares of whole budgets, summed over the incidents missed
	Delay    *Span   `json:"delay_p50_seconds,omitempty"`
}

// axes are what a search tries of one tier.
type axes struct {
	factors []float64 // smallest first, the present one among them
	shorts  []time.Duration
	guards  []int
	holds   []time.Duration
}

func (a axes) size() int { return len(a.shorts) * len(a.guards) * len(a.holds) * len(a.factors) }

// index is the place of one setting in a grid's lists.
func (a axes) index(short, guard, hold, factor int) int {
	return ((short*len(a.guards)+guard)*len(a.holds)+hold)*len(a.factors) + factor
}

// grid is what all settings of one tier did.
type grid struct {
	axes
	outside [2][]int32        // by part of the history, then by setting: pages that no incident explains
	worst   []int32           // likewise in the first part, of the tenant that has most
	busy    []float32         // the largest share of a tenant's time in the first part in which it fires
	delays  map[int][]float32 // by incident: seconds to its first page; see missed and ongoing
}

// What a grid holds in place of a delay. An alert that fires already is best, as it is for detection.
const ongoing = -1

func missed() float32 { return float32(math.Inf(1)) }

// search holds the grids of one objective while tenants pass by.
type search struct {
	grids     []*grid // by tier
	split     int     // the first tick of the holdout
	incidents map[int]numbered
	left      int // incidents there was no room for
	column    []float64
	count     []int32 // of one tenant
	ticks     []int32 // likewise: how long it fired
}

// mostSearched bounds the incidents whose delays a search keeps for every setting. Firings that others explain are still
// not outside.
const mostSearched = 2000

func (s *subject) newSearch() *search {
	found := &search{split: s.ticks.N * 2 / 3, incidents: map[int]numbered{}}
	for k := range s.Policy.Tiers {
		g := &grid{axes: s.axes(k), delays: map[int][]float32{}}
		g.outside = [2][]int32{make([]int32, g.size()), make([]int32, g.size())}
		g.worst, g.busy = make([]int32, g.size()), make([]float32, g.size())
		found.grids = append(found.grids, g)
	}
	return found
}

func (s *subject) axes(tier int) axes {
	t := s.Policy.Tiers[tier]
	a := axes{holds: compact(t.For, 0, 2*time.Minute, 15*time.Minute), guards: []int{s.MinFailures}}
	if s.MinFailures > 0 {
		a.guards = compact(s.MinFailures, 4*s.MinFailures)
	}
	for _, w := range s.Policy.Windows() {
		if w < t.Long {
			a.shorts = append(a.shorts, w)
		}
	}
	if !slices.Contains(a.shorts, t.Short) {
		a.shorts = compact(append(a.shorts, t.Short)...)
	}
	n := cmp.Or(s.trial.opts.Thresholds, DefaultThresholds)
	highest := s.Target.MaxBurnRate()
	for k := range n - 1 {
		a.factors = append(a.factors, s.readable(tier, math.Pow(highest, float64(k)/float64(n))))
	}
	a.factors = compact(append(a.factors, t.Factor)...)
	return a
}

// readable is about the factor, in three digits of what a contract would say: the factor itself for the fastest tier,
// of others the share of the budget in their long window.
func (s *subject) readable(tier int, factor float64) float64 {
	if tier == 0 {
		return round(factor)
	}
	long := s.Policy.Tiers[tier].Long
	return slo.FactorFor(round(slo.BudgetSpent(factor, long, s.Window)), long, s.Window)
}

// round keeps three digits: a number that people can read.
func round(f float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(f, 'e', 2, 64), 64)
	if err != nil {
		panic(err) // it was just written
	}
	return rounded
}

func compact[T cmp.Ordered](all ...T) []T {
	slices.Sort(all)
	return slices.Compact(all)
}

// sweep scores every setting for one tenant.
func (s *subject) sweep(name string, incidents []numbered, l *ledger, c *columns) {
	if s.search == nil {
		s.search = s.newSearch()
	}
	f := s.search
	for _, i := range incidents {
		if _, known := f.incidents[i.number]; !known && len(f.incidents) >= mostSearched {
			f.left++
			continue
		}
		f.incidents[i.number] = i
	}
	for k, t := range s.Policy.Tiers {
		g := f.grids[k]
		f.count, f.ticks = zeroed(f.count, g.size()), zeroed(f.ticks, g.size())
		mine := map[int][]float32{} // the delays of this tenant
		for _, i := range incidents {
			if _, kept := f.incidents[i.number]; kept {
				mine[i.number] = slices.Repeat([]float32{missed()}, g.size())
			}
		}
		for si, short := range g.shorts {
			for gi, guard := range g.guards {
				f.column = effective(f.column, l.ticks.N, c.burn[t.Long][name], c.burn[short][name], c.failures[t.Long][name], guard)
				w := sweeper{grid: g, search: f, delays: mine, short: si, guard: gi, within: within(incidents, l, short)}
				w.run(f.column, l.ticks)
			}
		}
		g.fold(mine, f, max(1, l.coveredUntil(f.split)))
	}
}

func zeroed(all []int32, n int) []int32 {
	if len(all) != n {
		return make([]int32, n)
	}
	clear(all)
	return all
}

// fold adds one tenant.
func (g *grid) fold(delays map[int][]float32, f *search, covered int) {
	for at, n := range f.count {
		g.worst[at] = max(g.worst[at], n)
		g.busy[at] = max(g.busy[at], float32(f.ticks[at])/float32(covered))
	}
	for incident, own := range delays {
		all := g.delays[incident]
		if all == nil {
			g.delays[incident] = own
			continue
		}
		for at, d := range own {
			if elsewhere(d, all[at]) {
				all[at] = d
			}
		}
	}
}

// elsewhere is detection.elsewhere for delays.
func elsewhere(d, old float32) bool {
	switch d {
	case missed():
		return false
	case ongoing:
		return old == missed()
	}
	return old == ongoing || d < old
}

// coveredUntil is how many of the first ticks have events.
func (l *ledger) coveredUntil(tick int) int {
	n := 0
	for _, v := range l.events[:min(tick, len(l.events))] {
		if !evaluator.Absent(v) {
			n++
		}
	}
	return n
}

// effective is, at each of n ticks, the burn rate that a tier's threshold is compared with: the smaller of the two; NaN
// where either is absent, or the guard holds it back.
func effective(dst []float64, n int, long, short, failures []float64, guard int) []float64 {
	dst = slices.Grow(dst[:0], n)[:n]
	for k := range dst {
		switch {
		case k >= len(long) || k >= len(short) || guard > 0 && (k >= len(failures) || !(failures[k] >= float64(guard))):
			dst[k] = math.NaN()
		case math.IsNaN(long[k]) || math.IsNaN(short[k]):
			dst[k] = math.NaN()
		default:
			dst[k] = min(long[k], short[k])
		}
	}
	return dst
}

// span is an incident in ticks, with the time in which its alerts may still begin.
type span struct {
	number         int
	from, to, late int
	start          time.Time
}

func within(incidents []numbered, l *ledger, linger time.Duration) []span {
	var all []span
	for _, i := range incidents {
		all = append(all, span{i.number, l.tick(i.Start), l.tick(i.End), l.tick(i.End.Add(linger)), i.Start})
	}
	return all
}

// sweeper counts the runs of one column of a grid.
type sweeper struct {
	*grid
	search       *search
	delays       map[int][]float32 // of this tenant
	short, guard int
	within       []span
}

func (w *sweeper) run(column []float64, ticks evaluator.Ticks) {
	var held []int
	for _, hold := range w.holds {
		held = append(held, ticks.Held(hold))
	}
	evaluator.Runs(column, w.factors, false, func(factor, from, to int) {
		for hi, hold := range held {
			if to-from > hold {
				w.fired(w.index(w.short, w.guard, hi, factor), from+hold, to, ticks)
			}
		}
	})
}

func (w *sweeper) fired(at, from, to int, ticks evaluator.Ticks) {
	explained := false
	for _, i := range w.within {
		if i.from >= to {
			break
		}
		if from > i.late {
			continue
		}
		explained = true
		own := w.delays[i.number]
		if own == nil || own[at] != missed() { // the first firing tells
			continue
		}
		if delay := ticks.At(from).Sub(i.start); delay < 0 {
			own[at] = ongoing
		} else {
			own[at] = float32(delay.Seconds())
		}
	}
	split := w.search.split
	w.search.ticks[at] += int32(max(0, min(to, split)-from))
	if explained {
		return
	}
	part := 1
	if from < split {
		part = 0
		w.search.count[at]++
	}
	w.outside[part][at]++
}
