package backtest

import (
	"cmp"
	"math"
	"slices"
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
}

// Trade is what is traded against each other: pages, and incidents found late or not at all. Pages of several tiers
// outside incidents count each, so that PerWeek is an upper bound.
type Trade struct {
	PerWeek  float64 `json:"pages_per_week"`
	Outside  int     `json:"pages_outside_incidents"`
	Detected int     `json:"detected"`
	Missed   int     `json:"missed"`
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
	outside [2][]int32        // by part of the history, then by setting
	delays  map[int][]float32 // by incident: seconds to its first page, infinite where there is none
}

// search holds the grids of one objective while tenants pass by.
type search struct {
	grids     []*grid // by tier
	split     int     // the first tick of the holdout
	incidents map[int]numbered
	column    []float64
}

func (s *subject) newSearch() *search {
	found := &search{split: s.ticks.N * 2 / 3, incidents: map[int]numbered{}}
	for _, t := range s.Policy.Tiers {
		g := &grid{axes: s.axes(t), delays: map[int][]float32{}}
		g.outside = [2][]int32{make([]int32, g.size()), make([]int32, g.size())}
		found.grids = append(found.grids, g)
	}
	return found
}

func (s *subject) axes(t slo.Tier) axes {
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
		f := math.Pow(highest, float64(k)/float64(n))
		a.factors = append(a.factors, round(f))
	}
	a.factors = compact(append(a.factors, t.Factor)...)
	return a
}

// round keeps three digits: a threshold that people can read.
func round(f float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(f))-2)
	return math.Round(math.Round(f/unit)*unit*1e6) / 1e6
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
	for _, i := range incidents {
		s.search.incidents[i.number] = i
	}
	for k, t := range s.Policy.Tiers {
		g := s.search.grids[k]
		for _, i := range incidents {
			g.meet(i.number)
		}
		for si, short := range g.shorts {
			for gi, guard := range g.guards {
				s.search.column = effective(s.search.column, c.burn[t.Long][name], c.burn[short][name], c.failures[t.Long][name], guard)
				w := sweeper{grid: g, short: si, guard: gi, split: s.search.split, within: within(incidents, l, short)}
				w.run(s.search.column, l.ticks)
			}
		}
	}
}

// meet prepares for an incident: nothing has found it yet.
func (g *grid) meet(incident int) {
	if g.delays[incident] == nil {
		g.delays[incident] = slices.Repeat([]float32{float32(math.Inf(1))}, g.size())
	}
}

// effective is, at each tick, the burn rate that a tier's threshold is compared with; absent where the guard holds it back.
func effective(dst, long, short, failures []float64, guard int) []float64 {
	dst = append(dst[:0], long...)
	for k, v := range short {
		if !(v >= dst[k]) { // also where either is absent
			dst[k] = v
		}
		if guard > 0 && (k >= len(failures) || !(failures[k] >= float64(guard))) {
			dst[k] = math.NaN()
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
	short, guard, split int
	within              []span
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
		delay := float32(max(0, ticks.At(from).Sub(i.start).Seconds()))
		w.delays[i.number][at] = min(w.delays[i.number][at], delay)
	}
	if !explained {
		part := 0
		if from >= w.split {
			part = 1
		}
		w.outside[part][at]++
	}
}

// result weighs all settings of every tier that counts.
func (f *search) result(s *subject, covered time.Duration) *Search {
	r := &Search{Split: s.ticks.At(f.split).UTC()}
	if len(f.incidents) == 0 {
		s.trial.note("%s: a search needs incidents: give --incidents, or --infer", s.ID())
		return nil
	}
	w := weigher{search: f, subject: s, covered: covered}
	for k, t := range s.Policy.Tiers {
		if !s.counts(t) {
			continue
		}
		all, present := w.tier(k, t)
		r.Tried += len(all)
		r.Front = append(r.Front, all...)
		if r.Present.Tier == "" {
			r.Present = present
		}
	}
	r.Proposed = propose(r.Front, r.Present, s.trial.opts.maxPages())
	r.Front = front(r.Front)
	return r
}

// weigher sums up grids: one tier's setting beside the present ones of the others.
type weigher struct {
	search  *search
	subject *subject
	covered time.Duration
}

// tier gives all candidates of one tier, and the present one.
func (w *weigher) tier(k int, t slo.Tier) (all []Candidate, present Candidate) {
	g := w.search.grids[k]
	others, outside := w.others(k)
	for si, short := range g.shorts {
		for gi, guard := range g.guards {
			for hi, hold := range g.holds {
				for fi, factor := range g.factors {
					c := Candidate{Tier: t.Name, Factor: factor, Short: Span(short), For: Span(hold), MinFailures: guard}
					c.sayable = short == t.Short && hold == t.For && guard == w.subject.MinFailures && (factor >= w.floor(k) || factor == t.Factor)
					at := g.index(si, gi, hi, fi)
					c.Chosen = w.trade(g, at, 0, others, outside)
					c.Holdout = w.trade(g, at, 1, others, outside)
					all = append(all, c)
					if c.sayable && factor == t.Factor {
						present = c
					}
				}
			}
		}
	}
	return all, present
}

// lowest is the factor under which nothing is proposed: a page about the budget's normal use tells nobody anything,
// however quiet the history that was searched.
const lowest = 2

// floor keeps tiers in order: a faster one must not be more sensitive than the next.
func (w *weigher) floor(k int) float64 {
	if k+1 < len(w.subject.Policy.Tiers) {
		return max(lowest, w.subject.Policy.Tiers[k+1].Factor)
	}
	return lowest
}

// others is how fast the other tiers find each incident as they are, and how often they page outside of any.
func (w *weigher) others(but int) (delays map[int]float32, outside [2]int32) {
	delays = map[int]float32{}
	for n := range w.search.incidents {
		delays[n] = float32(math.Inf(1))
	}
	for k, t := range w.subject.Policy.Tiers {
		if k == but || !w.subject.counts(t) {
			continue
		}
		g := w.search.grids[k]
		at := g.index(slices.Index(g.shorts, t.Short), slices.Index(g.guards, w.subject.MinFailures), slices.Index(g.holds, t.For), slices.Index(g.factors, t.Factor))
		for n, d := range g.delays {
			delays[n] = min(delays[n], d[at])
		}
		outside[0] += g.outside[0][at]
		outside[1] += g.outside[1][at]
	}
	return delays, outside
}

func (w *weigher) trade(g *grid, at, part int, others map[int]float32, outside [2]int32) Trade {
	t := Trade{Outside: int(g.outside[part][at] + outside[part])}
	var delays []time.Duration
	for n, i := range w.search.incidents {
		if (w.subject.ticks.At(w.search.split).After(i.Start)) != (part == 0) {
			continue
		}
		d := min(others[n], g.delays[n][at])
		if math.IsInf(float64(d), 1) {
			t.Missed++
			continue
		}
		delays = append(delays, time.Duration(float64(d)*float64(time.Second)))
	}
	t.Detected, t.Delay = len(delays), quantile(delays, 0.5)
	share := w.covered * 2 / 3
	if part == 1 {
		share = w.covered / 3
	}
	t.PerWeek = perWeek(t.Outside+t.Detected, share)
	return t
}

func (t Trade) delay() Span {
	if t.Delay == nil {
		return math.MaxInt64
	}
	return *t.Delay
}

// front keeps what nothing else beats, once for each outcome, and of that at most so many lines as people read.
func front(all []Candidate) []Candidate {
	const most = 12
	slices.SortStableFunc(all, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.Chosen.Outside, b.Chosen.Outside), cmp.Compare(a.Chosen.Missed, b.Chosen.Missed),
			cmp.Compare(a.Chosen.delay(), b.Chosen.delay()), -cmp.Compare(truth(a.sayable), truth(b.sayable)))
	})
	var kept []Candidate
	for _, c := range all {
		if !slices.ContainsFunc(kept, func(k Candidate) bool {
			return k.Chosen.Missed <= c.Chosen.Missed && k.Chosen.delay() <= c.Chosen.delay()
		}) {
			kept = append(kept, c)
		}
	}
	if len(kept) <= most {
		return kept
	}
	var thin []Candidate
	for k := range most {
		thin = append(thin, kept[k*(len(kept)-1)/(most-1)])
	}
	return thin
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// propose is the setting that a contract can say that pages no more than allowed, then misses least, then is fastest;
// nil where the present one is about as good.
func propose(all []Candidate, present Candidate, allowed float64) *Candidate {
	best := present
	rank := func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(truth(a.quiet(allowed, present)), truth(b.quiet(allowed, present))), -cmp.Compare(a.Chosen.Missed, b.Chosen.Missed),
			-cmp.Compare(a.Chosen.delay(), b.Chosen.delay()), -cmp.Compare(a.Chosen.Outside, b.Chosen.Outside), cmp.Compare(a.Factor, b.Factor))
	}
	for _, c := range all {
		if c.sayable && rank(c, best) > 0 {
			best = c
		}
	}
	same := best.Chosen.Missed == present.Chosen.Missed && best.Chosen.Outside >= present.Chosen.Outside
	if same && float64(best.Chosen.delay()) > 0.9*float64(present.Chosen.delay()) {
		return nil
	}
	return &best
}

// quiet reports whether a setting pages outside incidents no more often than allowed, or than the present one does.
func (c Candidate) quiet(allowed float64, present Candidate) bool {
	outside := c.Chosen.PerWeek * float64(c.Chosen.Outside) / float64(max(1, c.Chosen.Outside+c.Chosen.Detected))
	return outside <= allowed || c.Chosen.Outside <= present.Chosen.Outside
}
