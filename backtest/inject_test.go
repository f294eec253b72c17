package backtest

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/slowburn/slowburn/slo"
)

// stale marks the end of each series that a scrape no longer has: one sample in a hundred, with nothing lost between.
func stale(m Memory) Memory {
	for _, s := range m {
		for k := range s.Values {
			if k%100 == 50 {
				s.Values[k] = math.Float64frombits(value.StaleNaN)
			}
		}
	}
	return m
}

// relabelled is the series under another metric and with other labels.
func relabelled(s Samples, pairs ...string) Samples {
	b := labels.NewBuilder(s.Labels)
	for k := 0; k < len(pairs); k += 2 {
		b.Set(pairs[k], pairs[k+1])
	}
	s.Labels = b.Labels()
	return s
}

// classic is a histogram with all events within 0.25 s.
func classic(p party, d time.Duration) Memory {
	good := p.counters(d)[0]
	return NewMemory([]Samples{
		relabelled(good, "__name__", "rtt_seconds_count", "code", ""),
		relabelled(good, "__name__", "rtt_seconds_bucket", "code", "", "le", "0.3"),
		relabelled(good, "__name__", "rtt_seconds_bucket", "code", "", "le", "+Inf"),
	})
}

// exponential is a native histogram, all of whose events are between 0.125 and 0.25 s; or, with custom bounds, below 0.3.
func exponential(p party, d time.Duration, bounds ...float64) Memory {
	good := p.counters(d)[0]
	one := relabelled(Samples{Labels: good.Labels, Times: good.Times}, "__name__", "rtt_seconds", "code", "")
	for _, n := range good.Values {
		h := &histogram.FloatHistogram{Count: n, Sum: n * 0.2, PositiveSpans: []histogram.Span{{Offset: -2, Length: 1}}, PositiveBuckets: []float64{n}}
		if bounds != nil {
			h.Schema, h.CustomValues, h.PositiveSpans = histogram.CustomBucketsSchema, bounds, []histogram.Span{{Offset: 0, Length: 1}}
		}
		one.Histograms = append(one.Histograms, h)
	}
	return Memory{one}
}

// TestOutagesOnEveryIndicator: half of the good events fail, and the fast tier finds it after 4.32 min / 0.5.
func TestOutagesOnEveryIndicator(t *testing.T) {
	const days = 2 * 24 * time.Hour
	acme := party{name: "acme", perStep: 600}
	resetting := party{name: "acme", perStep: 600, reset: 7 * time.Hour}
	sparse := party{name: "acme", perStep: 1200, every: time.Minute, reset: 31 * time.Hour} // histograms cost the engine much
	both := party{name: "acme", perStep: 600, reset: 5 * time.Hour}.counters(days)
	two := NewMemory([]Samples{relabelled(both[0], "__name__", "jobs_total", "code", ""), relabelled(both[1], "__name__", "jobs_failed_total", "code", "")})
	counters := slo.Availability{Errors: `http_requests_total{code=~"5.."}`, Total: "http_requests_total"}
	latency := slo.Latency{Metric: "rtt_seconds", Threshold: 300 * time.Millisecond}
	native := slo.Latency{Metric: "rtt_seconds", Threshold: 300 * time.Millisecond, Native: true}
	for _, row := range []struct {
		name      string
		h         Memory
		indicator slo.Indicator
	}{
		{"one counter", history(days, acme), counters},
		{"a counter that is reset", history(days, resetting), counters},
		{"a counter with ends", stale(history(days, acme)), counters},
		{"several codes that are no failure", NewMemory(append(history(days, acme), relabelled(acme.counters(days)[0], "code", "404"))), counters},
		{"errors by exclusion", history(days, acme), slo.Availability{Errors: `http_requests_total{code!~"2..|4.."}`, Total: "http_requests_total"}},
		{"two counters that are reset", two, slo.Availability{Errors: "jobs_failed_total", Total: "jobs_total"}},
		{"a classic histogram", classic(acme, days), latency},
		{"a classic histogram that is reset", classic(resetting, days), latency},
		{"a classic histogram with matchers", classic(acme, days), slo.Latency{Metric: `{__name__="rtt_seconds", tenant!="x"}`, Threshold: 300 * time.Millisecond}},
		{"a native histogram", exponential(sparse, days-time.Hour), native},
		{"a native histogram that is reset", exponential(sparse, days), native},
		{"a native histogram with custom buckets", exponential(sparse, days, 0.3, 1), native},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := objective(t, 0.995, "default")
			o.Indicator = row.indicator
			length := 4 * time.Hour
			if row.indicator == native {
				length = 30 * time.Minute
			}
			for _, ratio := range []float64{0.5, 0.02, 1} {
				all, notes, err := Inject(t.Context(), []slo.Objective{o}, row.h, Injection{Ratios: []float64{ratio}, Hours: []time.Duration{5 * time.Hour}, For: length}, Options{})
				if err != nil || len(all) != 1 || len(notes) != 0 || all[0].Tenant != "acme" {
					t.Fatalf("injected %+v, notes %v, error %v", all, notes, err)
				}
				fast := all[0].Tiers[0]
				if ratio == 0.02 {
					if fast.Delay != nil {
						t.Errorf("2%% are found after %s: they burn 4 times", fast.Delay.Spell())
					}
					continue
				}
				want := 4.32 / ratio
				if fast.Ongoing || fast.Delay == nil || time.Duration(*fast.Delay).Minutes() < math.Floor(want) || time.Duration(*fast.Delay).Minutes() > want+2 {
					t.Errorf("%g: fast %+v after %s, want %g min", ratio, fast, fast.Delay.Spell(), want)
				}
			}
		})
	}
}

// TestOutagesHitTenantByTenant: each of more tenants than are loaded at once, and nobody else's alert.
func TestOutagesHitTenantByTenant(t *testing.T) {
	var parties []party
	for k := range batch + 7 {
		parties = append(parties, party{name: "tenant" + string(rune('A'+k/10)) + string(rune('0'+k%10)) + ".|*", perStep: 20, every: time.Minute})
	}
	parties[3].errors = during(0, 0.5) // fires already
	o := objective(t, 0.995, "default")
	all, notes, err := Inject(t.Context(), []slo.Objective{o}, history(24*time.Hour, parties...), Injection{Ratios: []float64{0.1, 1}, Hours: []time.Duration{12 * time.Hour}}, Options{})
	if err != nil || len(notes) > 0 || len(all) != 2*len(parties) {
		t.Fatalf("%d outages, notes %v, error %v", len(all), notes, err)
	}
	if !slices.IsSortedFunc(all, func(a, b Injected) int { return strings.Compare(spellRatio(a)+a.Tenant, spellRatio(b)+b.Tenant) }) {
		t.Error("the outages are not in order")
	}
	for _, i := range all {
		for _, tier := range i.Tiers {
			if tier.Ongoing != (i.Tenant == parties[3].name) || tier.Ongoing == (tier.Delay != nil) {
				t.Errorf("%s at %g: %+v", i.Tenant, i.Ratio, tier)
			}
		}
	}
}

func spellRatio(i Injected) string { return slo.FormatNumber(i.Ratio) }

// TestOutagesThatCantBe: what can't be tried is said.
func TestOutagesThatCantBe(t *testing.T) {
	h := history(48*time.Hour, party{name: "acme", perStep: 20})
	o := objective(t, 0.995, "default")
	o.Indicator = slo.Availability{Errors: `http_requests_total{code=~"zz.+",code!~"zz.*"}`, Total: "http_requests_total"}
	_, notes, err := Inject(t.Context(), []slo.Objective{o}, h, Injection{}, Options{})
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "no value was found by which the failures of") {
		t.Errorf("notes %v, error %v", notes, err)
	}
	_, notes, err = Inject(t.Context(), []slo.Objective{objective(t, 0.995, "sre")}, h, Injection{}, Options{})
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "the history is too short for an outage of 6h after a window of 3d") {
		t.Errorf("notes %v, error %v", notes, err)
	}
}
