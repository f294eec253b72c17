package backtest

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// result weighs all settings of every tier that counts.
func (f *search) result(s *subject) *Search {
	r := &Search{Split: s.ticks.At(f.split).UTC()}
	if len(f.incidents) == 0 {
		s.trial.note("%s: a search needs incidents: give --incidents, or --infer", s.ID())
		return nil
	}
	if f.left > 0 {
		s.trial.note("%s: the search weighs the first %d incidents, and leaves %d out", s.ID(), mostSearched, f.left)
	}
	w := newWeigher(s)
	var all []Candidate
	for k, t := range s.Policy.Tiers {
		if !s.counts(t) {
			continue
		}
		some, present := w.tier(k)
		r.Tried += w.search.grids[k].size()
		all = append(all, some...)
		if r.Present.Tier == "" {
			r.Present = present
		}
	}
	if w.chosen == 0 {
		s.trial.note("%s: no incident lies in the first two thirds of the history, so that nothing is proposed", s.ID())
	} else {
		r.Proposed = propose(all, r.Present, s.trial.opts.maxPages())
	}
	r.Front = thinned(front(all))
	return r
}

// weigher sums up grids: one tier's setting beside the present ones of the others.
type weigher struct {
	search  *search
	subject *subject
	numbers []int // of the incidents, in order
	chosen  int   // how many of them lie in the first part
	covered [2]time.Duration
}

func newWeigher(s *subject) *weigher {
	w := &weigher{search: s.search, subject: s, numbers: slices.Sorted(maps.Keys(s.search.incidents))}
	for k, there := range s.covered {
		if there {
			w.covered[part(k, s.search.split)] += s.ticks.Interval
		}
	}
	for _, n := range w.numbers {
		if w.partOf(n) == 0 {
			w.chosen++
		}
	}
	return w
}

func part(tick, split int) int {
	if tick < split {
		return 0
	}
	return 1
}

func (w *weigher) partOf(incident int) int {
	if w.search.incidents[incident].Start.Before(w.subject.ticks.At(w.search.split)) {
		return 0
	}
	return 1
}

// tier gives the candidates of one tier, and the present one. What fires most of the time is none: it explains nothing.
func (w *weigher) tier(k int) (all []Candidate, present Candidate) {
	g, t := w.search.grids[k], w.subject.Policy.Tiers[k]
	others, outside := w.others(k)
	for si, short := range g.shorts {
		for gi, guard := range g.guards {
			for hi, hold := range g.holds {
				for fi, factor := range g.factors {
					at := g.index(si, gi, hi, fi)
					c := Candidate{Tier: t.Name, Factor: factor, Short: Span(short), For: Span(hold), MinFailures: guard}
					isPresent := short == t.Short && hold == t.For && guard == w.subject.MinFailures && factor == t.Factor
					if g.busy[at] > alwaysFiring && !isPresent {
						continue
					}
					c.sayable = isPresent || short == t.Short && hold == t.For && guard == w.subject.MinFailures && factor >= w.floor(k) && w.saysOf(k)
					c.worst = perWeek(int(g.worst[at]), w.covered[0])
					c.Chosen = w.trade(g, at, 0, others, outside)
					c.Holdout = w.trade(g, at, 1, others, outside)
					all = append(all, c)
					if isPresent {
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

// saysOf reports whether the contract's one threshold can be about the tier: it says nothing of another one yet.
func (w *weigher) saysOf(k int) bool {
	said := w.subject.Threshold
	return said == nil || k == 0 && said.Within == 0 || said.Within == w.subject.Policy.Tiers[k].Long
}

// others is how fast the other tiers find each incident as they are, and how often they page outside of any.
func (w *weigher) others(but int) (delays map[int]float32, outside [2]int32) {
	delays = map[int]float32{}
	for _, n := range w.numbers {
		delays[n] = missed()
	}
	for k, t := range w.subject.Policy.Tiers {
		if k == but || !w.subject.counts(t) {
			continue
		}
		g := w.search.grids[k]
		at := g.present(t, w.subject.MinFailures)
		for n, d := range g.delays {
			delays[n] = w.both(n, delays[n], d[at])
		}
		outside[0] += g.outside[0][at]
		outside[1] += g.outside[1][at]
	}
	return delays, outside
}

// present is the place of a tier's own setting.
func (g *grid) present(t slo.Tier, guard int) int {
	return g.index(slices.Index(g.shorts, t.Short), slices.Index(g.guards, guard), slices.Index(g.holds, t.For), slices.Index(g.factors, t.Factor))
}

// both is how two tiers together meet an incident.
func (w *weigher) both(incident int, a, b float32) float32 {
	if w.search.incidents[incident].Tenant == "" && w.subject.Tenant.Label != "" {
		if elsewhere(b, a) {
			return b
		}
		return a
	}
	return min(a, b)
}

func (w *weigher) trade(g *grid, at, part int, others map[int]float32, outside [2]int32) Trade {
	t := Trade{Outside: int(g.outside[part][at] + outside[part])}
	var delays []time.Duration
	for _, n := range w.numbers {
		if w.partOf(n) != part {
			continue
		}
		switch d := w.both(n, others[n], g.delays[n][at]); d {
		case missed():
			t.Missed++
			t.Lost += w.subject.spent[n]
		case ongoing:
			t.Ongoing++
		default:
			delays = append(delays, time.Duration(float64(d)*float64(time.Second)))
		}
	}
	t.Detected, t.Delay = len(delays), quantile(delays, 0.5)
	t.PerWeek = perWeek(t.Outside+t.Detected, w.covered[part])
	return t
}

func (t Trade) delay() Span {
	if t.Delay == nil {
		return math.MaxInt64
	}
	return *t.Delay
}

// front keeps what nothing else beats in pages, missed budget and delay on the first part, once for each outcome.
func front(all []Candidate) []Candidate {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.Chosen.Outside, b.Chosen.Outside), cmp.Compare(a.Chosen.Lost, b.Chosen.Lost),
			cmp.Compare(a.Chosen.delay(), b.Chosen.delay()), -cmp.Compare(truth(a.sayable), truth(b.sayable)))
	})
	var kept []Candidate
	for _, c := range all {
		if !slices.ContainsFunc(kept, func(k Candidate) bool {
			return k.Chosen.Lost <= c.Chosen.Lost && k.Chosen.delay() <= c.Chosen.delay()
		}) {
			kept = append(kept, c)
		}
	}
	return kept
}

// thinned keeps so many as people read, both ends among them.
func thinned(kept []Candidate) []Candidate {
	const most = 12
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

// propose is the setting that a contract can say that pages no tenant more than allowed, then misses least, then is
// fastest; nil where the present one is about as good.
func propose(all []Candidate, present Candidate, allowed float64) *Candidate {
	best := present
	rank := func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(truth(a.quiet(allowed, present)), truth(b.quiet(allowed, present))),
			-cmp.Compare(a.Chosen.Lost, b.Chosen.Lost), -cmp.Compare(a.Chosen.Missed, b.Chosen.Missed),
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

// quiet reports whether a setting pages no tenant outside incidents more often than allowed, or no more than the present
// settings do.
func (c Candidate) quiet(allowed float64, present Candidate) bool {
	return c.worst <= allowed || c.Chosen.Outside <= present.Chosen.Outside
}
