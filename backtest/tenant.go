package backtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/slo"
)

// ledger is the events of one tenant: at each tick, those of the step before it.
type ledger struct {
	ticks           evaluator.Ticks
	step            time.Duration
	errors, events  []float64
	covered         int // ticks with events known
	first           int // of those
	failed, all     float64
	budget          float64   // failed events that one SLO window allows at the tenant's mean traffic
	cumulatedEvents []float64 // up to each tick
}

func newLedger(o slo.Objective, ticks evaluator.Ticks, failed, events []float64) *ledger {
	l := &ledger{ticks: ticks, step: shortest(o), errors: failed, events: events, cumulatedEvents: make([]float64, len(events))}
	share := float64(ticks.Interval) / float64(l.step)
	for k, v := range events {
		if !evaluator.Absent(v) {
			if l.covered == 0 {
				l.first = k
			}
			l.covered++
			l.all += v * share
			l.failed += l.failedAt(k) * share
		}
		l.cumulatedEvents[k] = l.all
	}
	if l.covered > 0 {
		windows := float64(o.Window) / float64(l.coveredFor())
		l.budget = o.Target.Budget() * l.all * windows
	}
	return l
}

// shortest is the step of rulegen's budget group: the shortest window of all.
func shortest(o slo.Objective) time.Duration {
	return slices.Min(append(o.Policy.Windows(), o.Record...))
}

func (l *ledger) coveredFor() time.Duration { return time.Duration(l.covered) * l.ticks.Interval }

func (l *ledger) failedAt(k int) float64 {
	if k < 0 || k >= len(l.errors) || evaluator.Absent(l.errors[k]) {
		return 0
	}
	return l.errors[k]
}

// spent is the share of one window's budget that went between two times, by steps counted back from the later one. Of
// the step that reaches over the earlier time, what had failed by then is left out, as far as the step before tells.
func (l *ledger) spent(from, to time.Time) float64 {
	if l.budget <= 0 || !to.After(from) {
		return 0
	}
	sum := 0.0
	for at := to; at.After(from); at = at.Add(-l.step) {
		failed := l.failedAt(l.tick(at))
		if within := at.Sub(from); within < l.step {
			early := l.failedAt(l.tick(from)) * float64(l.step-within) / float64(l.step)
			failed = max(0, failed-early)
		}
		sum += failed
	}
	return sum / l.budget
}

// tick is the last one at or before a time.
func (l *ledger) tick(at time.Time) int {
	if at.Before(l.ticks.Start) {
		return -1
	}
	return min(l.ticks.N-1, int(at.Sub(l.ticks.Start)/l.ticks.Interval))
}

// busiest is the most events that any stretch of length d has.
func (l *ledger) busiest(d time.Duration) float64 {
	n, most := int(d/l.ticks.Interval), 0.0
	for k, sum := range l.cumulatedEvents {
		if k >= n {
			sum -= l.cumulatedEvents[k-n]
		}
		most = max(most, sum)
	}
	return most
}

// knows reports whether there is an event count between two times.
func (l *ledger) knows(from, to time.Time) bool {
	for k := max(0, l.tick(from)); k <= l.tick(to); k++ {
		if !evaluator.Absent(l.events[k]) {
			return true
		}
	}
	return false
}

// tenant scores one tenant's firings, rule by rule and together.
func (s *subject) tenant(name string, c *columns) {
	l := newLedger(s.Objective, c.ticks, c.errors[name], c.events[name])
	if l.covered == 0 {
		return
	}
	for k, v := range l.events {
		if !evaluator.Absent(v) {
			s.covered[k] = true
		}
	}
	incidents := s.incidentsOf(name, l, c)
	t := Tenant{
		Name: name, Events: l.all, Errors: l.failed, Covered: Span(l.coveredFor()),
		Window: min(1, float64(l.coveredFor())/float64(s.Window)), Spent: l.failed / max(l.budget, 1e-300),
		Floor: s.floor(l),
	}
	if l.budget == 0 {
		t.Spent = 0
	}
	together := &together{subject: s, name: name, incidents: incidents, ledger: l}
	best := make([]detection, len(incidents))
	for k, tier := range s.Policy.Tiers {
		rule := judged{tier: tier, ledger: l, firings: c.firings[k][name], long: c.burn[tier.Long][name], short: c.burn[tier.Short][name]}
		rule.chill()
		explain(rule.firings, incidents, tier.Short, s.outside())
		rule.tally(incidents, s.Tenant.Label != "")
		s.foundAnywhere(k, incidents, rule.detections)
		if s.counts(tier) {
			for n, d := range rule.detections {
				if d.better(best[n]) {
					best[n] = d
				}
			}
			together.firings = append(together.firings, rule.firings...)
		}
		t.Rules = append(t.Rules, rule.rule(s))
		s.tiers[k].add(rule.sum)
	}
	sum := together.tally(best)
	t.Score = sum.score(l.coveredFor(), s.trial.opts.LabelsComplete)
	s.overall.add(sum)
	s.blame(&t, together.missed)
	s.tenants = append(s.tenants, t)
	if s.trial.opts.Search {
		s.sweep(name, incidents, l, c)
	}
}

// floor is the share of failed events below which no tier that counts ever fires: each has its threshold, and where even
// the busiest long window has few events, it takes more than that to fail as many as must.
func (s *subject) floor(l *ledger) float64 {
	floor := 1.0
	for _, tier := range s.Policy.Tiers {
		if !s.counts(tier) {
			continue
		}
		least := s.Target.ErrorRatio(tier.Factor)
		if s.MinFailures > 0 {
			least = max(least, float64(s.MinFailures)/l.busiest(tier.Long))
		}
		floor = min(floor, least)
	}
	return floor
}

// outside is the kind of a firing that no incident explains.
func (s *subject) outside() Kind {
	if s.trial.opts.LabelsComplete {
		return False
	}
	return Unlabelled
}

// counts reports whether a tier finds incidents: one that pages, or any where none does.
func (s *subject) counts(t slo.Tier) bool {
	paging := func(t slo.Tier) bool { return t.Severity == "page" }
	return paging(t) || !slices.ContainsFunc(s.Policy.Tiers, paging)
}

// incidentsOf are the incidents of a tenant at times of which the history knows something, sorted by start.
func (s *subject) incidentsOf(name string, l *ledger, c *columns) []numbered {
	var all []numbered
	for _, i := range s.incidents {
		if (i.Tenant == "" || i.Tenant == name || s.Tenant.Label == "") && l.knows(i.Start, i.End) {
			all = append(all, i)
		}
	}
	all = append(all, s.infer(name, all, l, c)...)
	slices.SortStableFunc(all, func(a, b numbered) int { return a.Start.Compare(b.Start) })
	return all
}

// together is what all tiers that count do for one tenant.
type together struct {
	subject   *subject
	name      string // of the tenant
	incidents []numbered
	ledger    *ledger
	firings   []Firing
	missed    []numbered // and worth finding
}

func (g *together) tally(best []detection) tally {
	s := g.subject
	var sum tally
	sum.count(g.firings)
	for n, i := range g.incidents {
		d := best[n]
		if old, seen := s.found[i.number]; !seen || d.elsewhere(old) {
			s.found[i.number] = d
		}
		spent := g.ledger.spent(i.Start, i.End)
		if i.Tenant == "" && s.Tenant.Label != "" {
			s.hit(i, g.name, spent, g.material(i, spent))
			continue // whose it was is not known: it counts once, over all tenants
		}
		s.spent[i.number] = spent
		sum.note(d)
		if !d.found && g.material(i, spent) {
			g.missed = append(g.missed, i)
		}
	}
	return sum
}

// material reports whether an incident burnt the budget faster than the promise allows. One that did not is no fault
// of an alert on that promise.
func (g *together) material(i numbered, spent float64) bool {
	return spent > float64(i.End.Sub(i.Start))/float64(g.subject.Window)
}

// victim is the tenant that lost most of its budget in an incident that nobody knows the tenant of.
type victim struct {
	name     string
	spent    float64
	material bool
}

func (s *subject) hit(i numbered, tenant string, spent float64, material bool) {
	if old, seen := s.victims[i.number]; !seen || spent > old.spent {
		s.victims[i.number], s.spent[i.number] = victim{tenant, spent, material}, spent
	}
}

// foundAnywhere keeps how a tier fared with the incidents that nobody knows the tenant of.
func (s *subject) foundAnywhere(tier int, incidents []numbered, detections []detection) {
	for n, i := range incidents {
		if i.Tenant != "" || s.Tenant.Label == "" {
			continue
		}
		if old, seen := s.anywhere[tier][i.number]; !seen || detections[n].elsewhere(old) {
			s.anywhere[tier][i.number] = detections[n]
		}
	}
}

// judged is one rule for one tenant.
type judged struct {
	tier       slo.Tier
	ledger     *ledger
	long       []float64 // burn rates, by tick
	short      []float64
	firings    []Firing
	detections []detection
	sum        tally
}

// chill marks the firings that began before there was a whole long window of events.
func (j *judged) chill() {
	full := j.ledger.ticks.At(j.ledger.first).Add(j.tier.Long)
	for k := range j.firings {
		j.firings[k].Cold = j.firings[k].Start.Before(full)
	}
}

func (j *judged) tally(incidents []numbered, tenants bool) {
	j.sum.count(slices.Clone(j.firings))
	for _, i := range incidents {
		d := detect(i.Incident, j.firings, j.tier.Name, j.tier.Short, j.ledger.spent)
		j.detections = append(j.detections, d)
		if i.Tenant != "" || !tenants {
			j.sum.note(d)
		}
	}
}

func (j *judged) rule(s *subject) Rule {
	r := Rule{
		Tier: j.tier.Name, Firings: j.firings, Verdict: Validated,
		Covered: min(1, float64(j.ledger.coveredFor())/float64(j.tier.Long)),
		Score:   j.sum.score(j.ledger.coveredFor(), s.trial.opts.LabelsComplete),
	}
	if r.Reasons = j.reasons(s, r); len(r.Reasons) > 0 {
		r.Verdict = Held
	}
	return r
}

// blame holds the most sensitive rule that counts for what none of them found: it is the one to change.
func (s *subject) blame(t *Tenant, missed []numbered) {
	if len(missed) == 0 {
		return
	}
	at := -1
	for k, tier := range s.Policy.Tiers {
		if s.counts(tier) && (at < 0 || tier.Factor < s.Policy.Tiers[at].Factor) {
			at = k
		}
	}
	first := missed[0]
	text := fmt.Sprintf("misses the incident of %s (%s)", first.Start.Format(time.RFC3339), first.place())
	if n := len(missed); n > 1 {
		text = fmt.Sprintf("misses %d incidents, the first %s (%s)", n, first.Start.Format(time.RFC3339), first.place())
	}
	t.Rules[at].Verdict, t.Rules[at].Reasons = Held, append(t.Rules[at].Reasons, text)
}

func (i Incident) place() string {
	if i.Infer {
		return "inferred"
	}
	return i.Place
}
