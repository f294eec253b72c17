package backtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.uber.org/goleak"

	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// party is one tenant of a made history: so many requests in each scrape, of which a share fails.
type party struct {
	name    string
	perStep float64
	errors  func(at time.Time) float64 // the share that fails in the scrape that ends then
	every   time.Duration              // between scrapes; 30 s if zero
	from    time.Duration              // after began
	reset   time.Duration              // how often the process starts anew, if ever
}

// history of parties, each with two counters.
func history(d time.Duration, parties ...party) Memory {
	var all []Samples
	for _, p := range parties {
		all = append(all, p.counters(d)...)
	}
	return NewMemory(all)
}

func (p party) counters(d time.Duration) []Samples {
	every := p.every
	if every == 0 {
		every = 30 * time.Second
	}
	var counts [2]float64
	all := make([]Samples, 2)
	for k, code := range []string{"200", "500"} {
		all[k].Labels = labels.FromStrings("__name__", "http_requests_total", "code", code, "service", "api", "tenant", p.name)
	}
	for at := began.Add(p.from); !at.After(began.Add(d)); at = at.Add(every) {
		ratio := 0.0
		if p.errors != nil {
			ratio = p.errors(at)
		}
		if p.reset > 0 && at.Sub(began)%p.reset == 0 {
			counts = [2]float64{}
		}
		counts[0] += p.perStep * (1 - ratio)
		counts[1] += p.perStep * ratio
		for k := range all {
			all[k].Times, all[k].Values = append(all[k].Times, at.UnixMilli()), append(all[k].Values, counts[k])
		}
	}
	return all
}

// during fails so much in each of the incidents, and else so little.
func during(ratio, else_ float64, incidents ...Incident) func(time.Time) float64 { //nolint:revive // else is the word
	return func(at time.Time) float64 {
		for _, i := range incidents {
			if at.After(i.Start) && !at.After(i.End) {
				return ratio
			}
		}
		return else_
	}
}

// fault is an incident so many hours after began, for so many minutes.
func fault(tenant string, hours float64, minutes int) Incident {
	start := began.Add(time.Duration(hours * float64(time.Hour)))
	return Incident{Service: "api", Tenant: tenant, Start: start, End: start.Add(time.Duration(minutes) * time.Minute), Place: fmt.Sprintf("i.csv:%g", hours)}
}

func run(t *testing.T, o slo.Objective, h History, opts Options) *Result {
	t.Helper()
	r, err := Run(t.Context(), []slo.Objective{o}, h, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tenantNamed(t *testing.T, s SLO, name string) Tenant {
	t.Helper()
	at := slices.IndexFunc(s.Tenants, func(t Tenant) bool { return t.Name == name })
	if at < 0 {
		t.Fatalf("no tenant %q among %d", name, len(s.Tenants))
	}
	return s.Tenants[at]
}

// TestTheSameRulesTie: rules set beside themselves are judged alike, whatever the incidents.
func TestTheSameRulesTie(t *testing.T) {
	late := fault("acme", 50, 3) // ends before the fast tier fires: only the grace finds it
	incidents := []Incident{fault("acme", 30, 60), late, fault("globex", 40, 90), fault("globex", 60, 30), fault("", 66, 40)}
	h := history(72*time.Hour,
		party{name: "acme", perStep: 100, errors: during(0.9, 0.0001, incidents[0], incidents[1], incidents[4], fault("acme", 55, 50))},
		party{name: "globex", perStep: 20, errors: during(0.3, 0, incidents[2])})
	for _, policy := range []string{"default", "sre"} {
		o := objective(t, 0.995, policy)
		opts := Options{Incidents: incidents}
		r := run(t, o, h, opts)
		groups, err := rulegen.Compile([]slo.Objective{o}, rulegen.Options{})
		if err != nil {
			t.Fatal(err)
		}
		// Sharing the slots of the replay under test, the other rules fire at the same ticks.
		alone := &rulefmt.RuleGroups{Groups: groups.Groups[:1]}
		if err := r.Against(t.Context(), h, alone, "old.yml", "tenant", opts); err != nil {
			t.Fatal(err)
		}
		c := r.Comparison.SLOs[0]
		if !reflect.DeepEqual(c.New, c.Old) || c.New.Detected < 3 || c.New.Missed == 0 || c.New.Unlabelled == 0 {
			t.Errorf("%s: new %+v\nold %+v", policy, c.New, c.Old)
		}
		for _, d := range r.Comparison.Incidents {
			if d.New.Detected != d.Old.Detected || d.New.Ongoing != d.Old.Ongoing || !reflect.DeepEqual(d.New.Delay, d.Old.Delay) {
				t.Errorf("%s: %s %s: new %+v, old %+v", policy, d.Tenant, d.Start, d.New, d.Old)
			}
		}
	}
}

// TestIncidentsWithoutATenant count once, are found by whoever's alert begins, and blame whoever they cost most.
func TestIncidentsWithoutATenant(t *testing.T) {
	found, missed := fault("", 40, 60), fault("", 60, 45)
	h := history(72*time.Hour,
		party{name: "acme", perStep: 100, errors: during(0.5, 0, found)},
		party{name: "broken", perStep: 100, errors: during(0, 0.5)}, // fires all the time, for something else
		party{name: "globex", perStep: 100, errors: during(0.025, 0, missed)})
	r := run(t, objective(t, 0.995, "default"), h, Options{Incidents: []Incident{found, missed}})
	one := r.SLOs[0]
	if s := one.Score; s.Incidents != 2 || s.Detected != 1 || s.Missed != 0 || s.Ongoing != 1 {
		t.Errorf("score %+v", s)
	}
	for _, tier := range one.Tiers {
		if tier.Score.Incidents != 2 || tier.Score.Detected != 1 {
			t.Errorf("tier %s: %+v", tier.Tier, tier.Score)
		}
	}
	if i := one.Incidents[0]; i.Ongoing || i.Delay == nil || time.Duration(*i.Delay) > 12*time.Minute {
		t.Errorf("found %+v", i)
	}
	// Without the tenant that fires anyway, nobody notices the second one.
	calm := slices.DeleteFunc(slices.Clone(h), func(s Samples) bool { return s.Labels.Get("tenant") == "broken" })
	one = run(t, objective(t, 0.995, "default"), calm, Options{Incidents: []Incident{found, missed}}).SLOs[0]
	if one.Score.Missed != 1 || one.Verdict != Held {
		t.Errorf("score %+v, verdict %s", one.Score, one.Verdict)
	}
	for _, name := range []string{"acme", "globex"} {
		rules := tenantNamed(t, one, name).Rules
		blamed := strings.Contains(strings.Join(rules[1].Reasons, "; "), "misses the incident of 2026-01-07T12:00:00Z (i.csv:60)")
		if blamed != (name == "globex") || len(rules[0].Reasons) > 0 {
			t.Errorf("%s: %+v", name, rules)
		}
	}
}

func TestUnknownTenantsCountForNothing(t *testing.T) {
	h := history(48*time.Hour, party{name: "acme", perStep: 100})
	elsewhere := fault("acme", 30, 60)
	elsewhere.Service = "search"
	outside := fault("acme", 300, 60)
	r := run(t, objective(t, 0.995, "default"), h, Options{Incidents: []Incident{fault("hooli", 30, 60), elsewhere, outside}})
	one := r.SLOs[0]
	if one.Score.Incidents != 0 || one.Verdict != Validated || len(one.Incidents) != 1 || !one.Incidents[0].Unknown {
		t.Errorf("score %+v, verdict %s, incidents %+v", one.Score, one.Verdict, one.Incidents)
	}
	notes := strings.Join(r.Notes, "\n")
	for _, want := range []string{
		`i.csv:30: the history of api/availability knows no tenant "hooli" at that time; the incident counts for nothing`,
		`i.csv:30: no SLO of service "search" is under test`, `i.csv:300: the incident lies outside the history`,
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes lack %q:\n%s", want, notes)
		}
	}
}

// TestAlertsThatNothingReaches are held, though nothing is wrong with their thresholds.
func TestAlertsThatNothingReaches(t *testing.T) {
	two := func(o *slo.Objective) {
		o.Indicator = slo.Availability{Errors: "http_errors_total", Total: "http_requests_total"}
	}
	untold := history(48*time.Hour, party{name: "acme", perStep: 100})
	errors := party{name: "acme", perStep: 5}.counters(48 * time.Hour)[0]
	errors.Labels = labels.FromStrings("__name__", "http_errors_total", "service", "api")
	untold = NewMemory(append(untold, errors))
	slow := party{name: "acme", perStep: 100}.counters(48 * time.Hour)
	slow[0].Labels = labels.FromStrings("__name__", "rtt_seconds_count", "service", "api", "tenant", "acme")
	slow[1].Labels = labels.FromStrings("__name__", "rtt_seconds_bucket", "le", "0.25", "service", "api", "tenant", "acme")
	for _, row := range []struct {
		name   string
		h      Memory
		change func(*slo.Objective)
		want   string
	}{
		{"failures without the tenant's label", untold, two, `can never fire: failed events are counted for tenant "", and all events are not`},
		{"no bucket at the threshold", NewMemory(slow), func(o *slo.Objective) {
			o.Indicator = slo.Latency{Metric: "rtt_seconds", Threshold: 300 * time.Millisecond}
		}, "can never fire: there are events and never a burn rate over 1h"},
		{"scrapes as far apart as the window", history(48*time.Hour, party{name: "acme", perStep: 100, every: 5 * time.Minute}), nil,
			"its samples stand too far apart for a window of 5m"},
		{"nothing", history(48*time.Hour, party{name: "acme", perStep: 100}), func(o *slo.Objective) { o.Service = "search" }, "the history holds none of its events"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := objective(t, 0.995, "default")
			if row.change != nil {
				row.change(&o)
			}
			one := run(t, o, row.h, Options{}).SLOs[0]
			if text := one.Reason + fmt.Sprint(one.Tenants); one.Verdict != Held || !strings.Contains(text, row.want) {
				t.Errorf("%s: %s", one.Verdict, text)
			}
		})
	}
}

// TestRareTraffic: a request in ten minutes is neither a page nor a division by nothing.
func TestRareTraffic(t *testing.T) {
	seen := 0
	h := history(96*time.Hour,
		party{name: "rare", perStep: 1, errors: func(time.Time) float64 { return 0 }},
		party{name: "acme", perStep: 100})
	random := rand.New(rand.NewPCG(11, 12))
	var requests, failures [12000]float64 // so far, by scrape
	for n := 1; n < len(requests); n++ {
		requests[n], failures[n] = requests[n-1], failures[n-1]
		if random.IntN(20) == 0 { // a request in twenty scrapes; of these every thirtieth fails
			if requests[n]++; int(requests[n])%30 == 0 {
				failures[n]++
			}
		}
	}
	for k, s := range h {
		if s.Labels.Get("tenant") != "rare" {
			continue
		}
		seen++
		for n := range s.Values {
			if s.Values[n] = requests[n] - failures[n]; s.Labels.Get("code") == "500" {
				s.Values[n] = failures[n]
			}
		}
		h[k] = s
	}
	one := run(t, objective(t, 0.995, "sre"), h, Options{Search: true, Infer: 0.01}).SLOs[0]
	rare := tenantNamed(t, one, "rare")
	if n := len(h[0].Times) - 1; seen != 2 || !near(rare.Events, requests[n], 0.01) || !near(rare.Errors, failures[n], 0.1) {
		t.Errorf("%g of %g events failed, counted %g of %g", rare.Errors, rare.Events, failures[n], requests[n])
	}
	if rare.Rules[0].Score.Firings != 0 || rare.Spent < 0.8 || rare.Spent > 1 || math.IsNaN(rare.Spent) {
		t.Errorf("rare %+v", rare)
	}
}

// TestColdFirings are told apart: rate() over a window longer than the series is old is a rate over less.
func TestColdFirings(t *testing.T) {
	late := 20 * time.Hour
	first := Incident{Start: began.Add(late), End: began.Add(late + 10*time.Minute)}
	h := history(48*time.Hour,
		party{name: "acme", perStep: 100},
		party{name: "young", perStep: 100, from: late, errors: during(0.2, 0, first, fault("", 40, 60))})
	one := run(t, objective(t, 0.995, "default"), h, Options{MaxPages: 1}).SLOs[0]
	young := tenantNamed(t, one, "young")
	if s := young.Score; s.Unlabelled != 2 || s.Cold != 1 || one.Score.Cold != 1 || tenantNamed(t, one, "acme").Score.Cold != 0 {
		t.Errorf("score %+v", s)
	}
	for _, r := range young.Rules {
		if r.Verdict != Validated || !r.Firings[0].Cold || r.Firings[len(r.Firings)-1].Cold {
			t.Errorf("rule %+v", r)
		}
	}
}

// TestDelayFormula: with constant traffic an outage is found after L·(theta - e0)/(e - e0), and a tick.
func TestDelayFormula(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for range 40 {
		o := objective(t, []float64{0.99, 0.995, 0.999}[random.IntN(3)], "sre")
		o.MinFailures = 0
		theta := o.Target.ErrorRatio(o.Policy.Tiers[0].Factor)
		before := random.Float64() * o.Target.Budget() * 0.9
		ratio := theta * (1.05 + random.Float64()*4)
		if ratio > 1 {
			continue
		}
		start := began.Add(80*time.Hour + time.Duration(random.IntN(3600))*time.Second)
		i := Incident{Service: "api", Tenant: "acme", Start: start, End: start.Add(7 * time.Hour)}
		h := history(90*time.Hour, party{name: "acme", perStep: 1000, errors: during(ratio, before, i), every: 15 * time.Second})
		one := run(t, o, h, Options{Incidents: []Incident{i}}).SLOs[0]
		for k, tier := range o.Policy.Tiers {
			theta := o.Target.ErrorRatio(tier.Factor)
			want := time.Duration(float64(tier.Long) * (theta - before) / (ratio - before))
			found := one.Tiers[k].Score.DelayP50
			if want > 7*time.Hour {
				continue
			}
			// The first scrape that fails whole comes up to 15 s late, the tick up to a minute; rates are extrapolated by half a scrape.
			if found == nil || time.Duration(*found) < want-30*time.Second || time.Duration(*found) > want+time.Minute+45*time.Second {
				t.Errorf("target %v, %g to %g errors, tier %s: found after %s, want %s", o.Target, before, ratio, tier.Name, found.Spell(), want)
			}
		}
	}
}

// TestSpentIsWhatFailed sets the budget that incidents cost beside plain counts of the raw samples.
func TestSpentIsWhatFailed(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	for range 12 {
		var incidents []Incident
		for at := 4.0; at < 88; at += 6 + 6*random.Float64() {
			incidents = append(incidents, fault("acme", math.Round(at*60)/60, 20+random.IntN(180)))
		}
		o := objective(t, 0.99, "default")
		h := history(96*time.Hour, party{
			name: "acme", perStep: 50, errors: during(random.Float64(), 0.001, incidents...),
			reset: time.Duration(random.IntN(2)) * 7 * time.Hour,
		})
		one := run(t, o, h, Options{Incidents: incidents}).SLOs[0]
		failed, all := counted(h, began, began.Add(96*time.Hour))
		budget := o.Target.Budget() * all * float64(o.Window) / float64(96*time.Hour)
		if acme := one.Tenants[0]; !near(acme.Events, all, 0.002) || !near(acme.Errors, failed, 0.005) || !near(acme.Spent, failed/budget, 0.006) {
			t.Errorf("%g of %g events failed and spent %g, counted %g of %g and %g", acme.Errors, acme.Events, acme.Spent, failed, all, failed/budget)
		}
		for _, i := range one.Incidents {
			failed, _ := counted(h, i.Start, i.End)
			if !near(i.Spent, failed/budget, 0.05) {
				t.Errorf("%s to %s spent %g, counted %g", i.Start, i.End, i.Spent, failed/budget)
			}
			if i.Delay == nil {
				continue
			}
			failed, _ = counted(h, i.Start, i.Start.Add(time.Duration(*i.Delay)))
			if !near(*i.Before, failed/budget, 0.15) {
				t.Errorf("%s spent %g before its page, counted %g", i.Start, *i.Before, failed/budget)
			}
		}
	}
}

// counted adds up the increments of the raw counters between two times.
func counted(m Memory, from, to time.Time) (failed, all float64) {
	for _, s := range m {
		for k := 1; k < len(s.Times); k++ {
			if s.Times[k] <= from.UnixMilli() || s.Times[k] > to.UnixMilli() {
				continue
			}
			n := s.Values[k] - s.Values[k-1]
			if n < 0 {
				n = s.Values[k]
			}
			if all += n; s.Labels.Get("code") == "500" {
				failed += n
			}
		}
	}
	return failed, all
}

func near(a, b, relative float64) bool { return math.Abs(a-b) <= relative*math.Abs(b)+1e-12 }
