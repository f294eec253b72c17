package backtest

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// searched runs a back-test with a search, and gives its inside.
func searched(t *testing.T, o slo.Objective, h History, opts Options) *subject {
	t.Helper()
	opts.Search = true
	inside, err := newTrial([]slo.Objective{o}, h, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := inside.replay(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	return inside.subjects[0]
}

// restless is a history of a few tenants with faults of all sizes, and the incidents that somebody has noted of them.
func restless(random *rand.Rand, d time.Duration) (Memory, []Incident) {
	var noted []Incident
	var parties []party
	for _, name := range []string{"acme", "globex", "initech"} {
		var faults []Incident
		var ratios []float64
		for hours := 2 + 5*random.Float64(); hours < d.Hours()-3; hours += 1 + 9*random.Float64() {
			f := fault(name, math.Round(hours*120)/120, 2+random.IntN(150))
			faults, ratios = append(faults, f), append(ratios, math.Pow(10, -2*random.Float64()))
			switch random.IntN(4) {
			case 0: // nobody knows whose it was
				f.Tenant = ""
				noted = append(noted, f)
			case 1: // nobody noted it
			default:
				noted = append(noted, f)
			}
		}
		parties = append(parties, party{name: name, perStep: 1 + 40*random.Float64(), errors: func(at time.Time) float64 {
			for k, f := range faults {
				if at.After(f.Start) && !at.After(f.End) {
					return ratios[k]
				}
			}
			return 0.0005
		}, reset: time.Duration(random.IntN(2)) * 11 * time.Hour})
	}
	return history(d, parties...), noted
}

// TestSweptSettingsPageAsCompiled: what the search says of a setting is what the rules do that are compiled with it.
func TestSweptSettingsPageAsCompiled(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	fired := 0
	for range 6 {
		h, incidents := restless(random, 60*time.Hour)
		o := objective(t, []float64{0.95, 0.99, 0.995}[random.IntN(3)], "default")
		o.Policy.Tiers = append(o.Policy.Tiers, slo.Tier{Name: "own", Severity: "page", Long: 3 * time.Hour, Short: 10 * time.Minute, Factor: 4, For: 3 * time.Minute})
		o.MinFailures = random.IntN(30)
		opts := Options{Incidents: incidents, Thresholds: 40}
		s := searched(t, o, h, opts)
		for range 8 {
			k := random.IntN(len(o.Policy.Tiers))
			g := s.search.grids[k]
			si, gi, hi, fi := random.IntN(len(g.shorts)), random.IntN(len(g.guards)), random.IntN(len(g.holds)), random.IntN(len(g.factors))
			other := o
			other.Policy.Tiers = slices.Clone(o.Policy.Tiers)
			tier := &other.Policy.Tiers[k]
			tier.Short, tier.For, tier.Factor = g.shorts[si], g.holds[hi], g.factors[fi]
			other.MinFailures = g.guards[gi]
			fired += s.sameAs(t, run(t, other, h, opts).SLOs[0], k, g.index(si, gi, hi, fi))
		}
	}
	if fired < 100 {
		t.Errorf("only %d firings were compared", fired)
	}
}

// sameAs holds one setting of a tier to a replay of it. It returns the replay's firings.
func (s *subject) sameAs(t *testing.T, one SLO, tier, at int) int {
	t.Helper()
	g := s.search.grids[tier]
	if swept := int(g.outside[0][at] + g.outside[1][at]); swept != one.Tiers[tier].Score.Unlabelled {
		t.Errorf("%+v: %d pages outside incidents, the replay has %d", one.Tiers[tier], swept, one.Tiers[tier].Score.Unlabelled)
	}
	var found, firing, lost int
	for n := range s.search.incidents {
		switch g.delays[n][at] {
		case missed():
			lost++
		case ongoing:
			firing++
		default:
			found++
		}
	}
	score := one.Tiers[tier].Score
	if found != score.Detected || firing != score.Ongoing || lost != score.Missed {
		t.Errorf("%+v: found %d, ongoing %d, missed %d; the replay has %+v", one.Tiers[tier], found, firing, lost, score)
	}
	worst := 0
	for _, tenant := range one.Tenants {
		own := 0
		for _, f := range tenant.Rules[tier].Firings {
			if f.Kind != ForIncident && f.Start.Before(s.ticks.At(s.search.split)) {
				own++
			}
		}
		worst = max(worst, own)
	}
	if int(g.worst[at]) != worst {
		t.Errorf("%+v: the worst tenant has %d pages, in the replay %d", one.Tiers[tier], g.worst[at], worst)
	}
	var delays []float64
	for n := range s.search.incidents {
		if d := g.delays[n][at]; d != ongoing && d != missed() {
			delays = append(delays, float64(d))
		}
	}
	slices.Sort(delays)
	if p50 := score.DelayP50; p50 != nil && math.Abs(delays[(len(delays)-1)/2]-time.Duration(*p50).Seconds()) > 0.01 {
		t.Errorf("%+v: half are found within %g s, in the replay %s", one.Tiers[tier], delays[(len(delays)-1)/2], p50.Spell())
	}
	return score.Firings
}

// TestFrontIsCompleteAndUnbeaten against every pair of settings.
func TestFrontIsCompleteAndUnbeaten(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	beats := func(a, b Trade) bool {
		return a.Outside <= b.Outside && a.Lost <= b.Lost && a.delay() <= b.delay() &&
			(a.Outside < b.Outside || a.Lost < b.Lost || a.delay() < b.delay())
	}
	equal := func(a, b Trade) bool {
		return a.Outside == b.Outside && a.Lost == b.Lost && a.delay() == b.delay()
	}
	for range 300 {
		all := make([]Candidate, 1+random.IntN(60))
		for k := range all {
			delay := Span(random.IntN(6)) * Span(time.Minute)
			all[k] = Candidate{Factor: float64(k), Chosen: Trade{Outside: random.IntN(6), Lost: float64(random.IntN(5)) / 4, Delay: &delay}}
			if random.IntN(8) == 0 {
				all[k].Chosen.Delay = nil
			}
		}
		kept := front(all)
		for _, c := range all {
			unbeaten := !slices.ContainsFunc(all, func(o Candidate) bool { return beats(o.Chosen, c.Chosen) })
			times := 0
			for _, k := range kept {
				if equal(k.Chosen, c.Chosen) {
					times++
				}
			}
			if unbeaten && times != 1 || !unbeaten && times != 0 {
				t.Fatalf("%+v: unbeaten %t, %d times on the front", c.Chosen, unbeaten, times)
			}
		}
		if thin := thinned(kept); len(thin) > 12 || thin[0] != kept[0] || thin[len(thin)-1] != kept[len(kept)-1] {
			t.Fatalf("%d of %d are kept", len(thin), len(kept))
		}
	}
}

// TestHoldoutIsReportedApart: what happens in the last third changes no choice, and is told.
func TestHoldoutIsReportedApart(t *testing.T) {
	early := []Incident{fault("acme", 10, 120), fault("acme", 30, 120), fault("acme", 45, 120)}
	late := []Incident{fault("acme", 70, 120), fault("acme", 85, 120)}
	at := func(ratio float64) Memory {
		low := during(0.04, 0.0002, early...)
		return history(90*time.Hour, party{name: "acme", perStep: 200, errors: func(at time.Time) float64 {
			return max(low(at), during(ratio, 0, late...)(at))
		}})
	}
	var proposed []Candidate
	for _, ratio := range []float64{0.04, 0.9} {
		r := run(t, objective(t, 0.995, "default"), at(ratio), Options{Search: true, Incidents: slices.Concat(early, late)})
		s := r.SLOs[0].Search
		if s == nil || s.Proposed == nil {
			t.Fatalf("errors %g: nothing is proposed: %+v", ratio, s)
		}
		if got := heldOut(s); got != 2 {
			t.Errorf("errors %g: %d incidents in the holdout, want 2", ratio, got)
		}
		proposed = append(proposed, *s.Proposed)
	}
	a, b := proposed[0], proposed[1]
	if a.Factor != b.Factor || a.Tier != b.Tier || a.Chosen.delay() != b.Chosen.delay() {
		t.Errorf("the held-out part changed the choice: %+v, %+v", a, b)
	}
	if a.Holdout.delay() <= b.Holdout.delay() {
		t.Errorf("larger outages are found no faster: %+v, %+v", a.Holdout, b.Holdout)
	}
	// Incidents in the last third alone choose nothing.
	r := run(t, objective(t, 0.995, "default"), at(0.9), Options{Search: true, Incidents: late})
	if s := r.SLOs[0].Search; s.Proposed != nil {
		t.Errorf("proposed %+v by no incident", s.Proposed)
	}
}

// heldOut is how many incidents the held-out part has.
func heldOut(s *Search) int {
	p := s.Proposed.Holdout
	return p.Detected + p.Ongoing + p.Missed
}

// TestAlwaysFiringIsNeverProposed: an alert that never ends misses nothing and pages once.
func TestAlwaysFiringIsNeverProposed(t *testing.T) {
	incidents := []Incident{fault("acme", 20, 60), fault("acme", 40, 60), fault("acme", 55, 60)}
	h := history(72*time.Hour, party{name: "acme", perStep: 200, errors: during(0.2, 0.016, incidents...)}) // burns at 3.2x all the time
	r := run(t, objective(t, 0.995, "default"), h, Options{Search: true, Incidents: incidents})
	s := r.SLOs[0].Search
	for _, c := range append(slices.Clone(s.Front), s.Present) {
		if c.Factor < 3.2 {
			t.Errorf("on the front: %+v", c)
		}
	}
	if s.Proposed != nil && s.Proposed.Factor < 3.2 {
		t.Errorf("proposed %+v", s.Proposed)
	}
}

// TestContractSaysOneThreshold: what would take the place of another tier's threshold is not proposed.
func TestContractSaysOneThreshold(t *testing.T) {
	incidents := []Incident{fault("acme", 20, 200), fault("acme", 40, 200)}
	h := history(72*time.Hour, party{name: "acme", perStep: 200, errors: during(0.028, 0.0001, incidents...)}) // 5.6x: the 6h tier at 6x misses it
	o := objective(t, 0.995, "default")
	r := run(t, o, h, Options{Search: true, Incidents: incidents})
	if p := r.SLOs[0].Search.Proposed; p == nil || p.Tier != "medium" {
		t.Fatalf("proposed %+v, want another medium tier", p)
	}
	o.Threshold = &slo.Threshold{Value: 16, Unit: slo.UnitBurnRate}
	o.Policy = o.Policy.WithThreshold(*o.Threshold, o.Target, o.Window)
	r = run(t, o, h, Options{Search: true, Incidents: incidents})
	if p := r.SLOs[0].Search.Proposed; p != nil && p.Tier != "fast" {
		t.Errorf("proposed %+v, which the contract can't say beside 16x", p)
	}
}
