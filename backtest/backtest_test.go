package backtest

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn/slowburn/slo"
)

var began = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// constant is a tenant with so many requests in each scrape of 15 seconds, none of which fail but between the times.
type constant struct {
	Memory
	until time.Time
}

func (c constant) Extent() (int64, int64) { return began.UnixMilli(), c.until.UnixMilli() }

// world has constant traffic with the error ratios of the faults.
func world(d time.Duration, perScrape float64, faults ...Incident) constant {
	ok := Samples{Labels: labels.FromStrings("__name__", "http_requests_total", "code", "200", "service", "api", "tenant", "acme")}
	bad := Samples{Labels: labels.FromStrings("__name__", "http_requests_total", "code", "500", "service", "api", "tenant", "acme")}
	good, failed := 1e6, 1e6
	for at := began; !at.After(began.Add(d)); at = at.Add(15 * time.Second) {
		ratio := 0.0
		for _, f := range faults {
			if at.After(f.Start) && !at.After(f.End) {
				ratio = 0.5
			}
		}
		good, failed = good+perScrape*(1-ratio), failed+perScrape*ratio
		ok.Times, ok.Values = append(ok.Times, at.UnixMilli()), append(ok.Values, good)
		bad.Times, bad.Values = append(bad.Times, at.UnixMilli()), append(bad.Values, failed)
	}
	return constant{Memory{ok, bad}, began.Add(d)}
}

func objective(t *testing.T, target float64, policy string) slo.Objective {
	t.Helper()
	p, err := slo.PolicyNamed(policy)
	if err != nil {
		t.Fatal(err)
	}
	return slo.Objective{
		Service: "api", Name: "availability", Target: slo.Target(target), Window: slo.DefaultWindow,
		Indicator:   slo.Availability{Errors: `http_requests_total{code=~"5.."}`, Total: "http_requests_total"},
		Tenant:      slo.Tenant{Dynamic: "context.tenantId", Label: "tenant"},
		MinFailures: slo.DefaultMinFailures, Policy: p, Declared: []slo.Position{{File: "api.ts", Line: 14}},
	}
}

// The vectors of the SRE workbook's arithmetic: minutes to detection with constant traffic, t = L·B·b/e.
func TestInjectedOutagesAreFoundWhenArithmeticSays(t *testing.T) {
	const never = -1
	for _, row := range []struct {
		target, ratio              float64
		fast, medium, slow, lowest float64
	}{
		{0.999, 1, 0.864, 2.16, 4.32, 4.32},
		{0.999, 0.1, 8.64, 21.6, 43.2, 43.2},
		{0.999, 0.01, never, 216, 432, 432},
		{0.995, 1, 4.32, 10.8, 21.6, 21.6},
		{0.995, 0.1, 43.2, 108, 216, 216},
		{0.995, 0.072, never, 150, 300, 300},
		{0.995, 0.05, never, 216, 432, 432},
		{0.995, 0.02, never, never, 1080, 1080},
		{0.995, 0.01, never, never, never, 2160},
	} {
		t.Run(fmt.Sprintf("%g at %g", row.ratio, row.target), func(t *testing.T) {
			h := world(5*24*time.Hour, 1000)
			all, notes, err := Inject(t.Context(), []slo.Objective{objective(t, row.target, "sre")}, h,
				Injection{Ratios: []float64{row.ratio}, For: 40 * time.Hour, Hours: []time.Duration{0}}, Options{})
			if err != nil || len(all) != 1 || len(notes) != 0 {
				t.Fatalf("injected %v, notes %v, error %v", all, notes, err)
			}
			for k, want := range []float64{row.fast, row.medium, row.slow, row.lowest} {
				got := all[0].Tiers[k]
				switch {
				case want == never && got.Delay != nil:
					t.Errorf("%s: found after %s, want never", got.Tier, time.Duration(*got.Delay))
				case want == never:
				case got.Delay == nil:
					t.Errorf("%s: never found, want after %g min", got.Tier, want)
				default: // the next tick, and at most a scrape and the tick's rounding later
					if minutes := time.Duration(*got.Delay).Minutes(); minutes < math.Floor(want) || minutes > want+2 {
						t.Errorf("%s: found after %g min, want %g", got.Tier, minutes, want)
					}
				}
			}
		})
	}
}

func TestIncidentIsScored(t *testing.T) {
	fault := Incident{Service: "api", Tenant: "acme", Start: began.Add(30 * time.Hour), End: began.Add(31 * time.Hour), Place: "i.csv:2"}
	stray := Incident{Start: began.Add(60 * time.Hour), End: began.Add(61 * time.Hour)}
	quiet := Incident{Service: "api", Tenant: "acme", Start: began.Add(40 * time.Hour), End: began.Add(41 * time.Hour), Place: "i.csv:3"}
	h := world(7*24*time.Hour, 100, fault, stray)
	r, err := Run(t.Context(), []slo.Objective{objective(t, 0.995, "default")}, h, Options{Incidents: []Incident{fault, quiet}, Search: true})
	if err != nil {
		t.Fatal(err)
	}
	one := r.SLOs[0]
	got := one.Score
	if got.Pages != 2 || got.Firings != 4 || got.Detected != 1 || got.Missed != 1 || got.Unlabelled != 1 {
		t.Errorf("score %+v", got)
	}
	// 4.32 min at 100 % are 8.64 at 50 %, in which 0.5 × 8.64 min of the budget's 0.005 × 30 d go.
	if d := time.Duration(*got.DelayP50); d < 8*time.Minute || d > 11*time.Minute {
		t.Errorf("delay %s, want about 8.64 min", d)
	}
	if want := 0.5 * time.Duration(*got.DelayP50).Minutes() / (0.005 * 30 * 24 * 60); math.Abs(*got.Spent-want) > 0.1*want {
		t.Errorf("spent %g before the page, want about %g", *got.Spent, want)
	}
	// The quiet hour spent nothing: no alert is to blame for it.
	if one.Verdict != Validated {
		t.Errorf("verdict %s: %+v", one.Verdict, one.Tenants[0].Rules)
	}
	if one.Search == nil || one.Search.Tried < 1000 || one.Search.Present.Chosen.Missed != 1 {
		t.Errorf("search %+v", one.Search)
	}
	if reset := one.Incidents[0].Reset; reset == nil || time.Duration(*reset) < 4*time.Minute || time.Duration(*reset) > 6*time.Minute {
		t.Errorf("reset %v, want about 4.28 min, with the tick 5", reset)
	}
}

func TestVerdictsHoldWithReasons(t *testing.T) {
	fault := Incident{Service: "api", Tenant: "acme", Start: began.Add(30 * time.Hour), End: began.Add(36 * time.Hour), Place: "i.csv:2"}
	for _, row := range []struct {
		name   string
		h      constant
		change func(*slo.Objective)
		opts   Options
		want   string
	}{
		{"static", world(48*time.Hour, 100), func(o *slo.Objective) { o.Target = 0.9 }, Options{}, "can never fire: a total outage burns 10 times, not above 14.4"},
		{"short", world(3*time.Hour, 100), nil, Options{}, "not enough history: it covers 50% of the 6h window"},
		{"idle", world(48*time.Hour, 0.01), nil, Options{}, "can never fire: the busiest 1h has 2 events, and 5 must fail"},
		{"missed", world(72*time.Hour, 100, fault), func(o *slo.Objective) { o.MinFailures = 1e6 }, Options{Incidents: []Incident{fault}}, "misses the incident of 2026-01-06T06:00:00Z (i.csv:2)"},
		{"permanent", world(72*time.Hour, 100, Incident{Start: began, End: began.Add(72 * time.Hour)}), nil, Options{}, "fires 100% of the time"},
		{"noisy", world(72*time.Hour, 100, fault), nil, Options{MaxPages: 0.5}, "pages 1.0 times a week outside incidents, more than 0.5"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := objective(t, 0.995, "default")
			if row.change != nil {
				row.change(&o)
			}
			r, err := Run(t.Context(), []slo.Objective{o}, row.h, row.opts)
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("%+v", r.SLOs[0].Tenants)
			if r.Verdict != Held || !strings.Contains(text, row.want) {
				t.Errorf("verdict %s, want held for %q: %s", r.Verdict, row.want, text)
			}
		})
	}
}

func TestIncidentsAreInferred(t *testing.T) {
	fault := Incident{Start: began.Add(30 * time.Hour), End: began.Add(31 * time.Hour)}
	r, err := Run(t.Context(), []slo.Objective{objective(t, 0.995, "default")}, world(48*time.Hour, 100, fault), Options{Infer: 0.01})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.SLOs[0].Incidents) != 1 {
		t.Fatalf("inferred %+v", r.SLOs[0].Incidents)
	}
	got := r.SLOs[0].Incidents[0]
	if !got.Infer || got.Start.Sub(fault.Start).Abs() > 2*time.Minute || got.End.Sub(fault.End).Abs() > 2*time.Minute || !got.Detected {
		t.Errorf("inferred %+v, want %s to %s", got, fault.Start, fault.End)
	}
	if math.Abs(got.Spent-0.5*60/(0.005*30*24*60)) > 0.02 {
		t.Errorf("spent %g", got.Spent)
	}
}

func TestReadIncidents(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"service,tenant,start,end,kind\napi,acme,1767571200,2026-01-05T01:00:00Z,x\n", ""},
		{"", "i.csv: empty"},
		{"service,start\n", "i.csv:1: no column end among service, start"},
		{"service,start,end\napi,5,4\n,1,2\napi,x,3\napi,1\n", "i.csv:2: end 1970-01-01T00:00:04Z is not after start|i.csv:3: names no service|i.csv:4: start \"x\" is no time|i.csv:5: 2 fields, the header has 3"},
		{"service,start,end\napi,NaN,1e300\n", "i.csv:2: start \"NaN\" is no time|i.csv:2: end \"1e300\" is no time"},
		{"service,service,start,end\n", `column "service" stands twice`},
	} {
		all, err := ReadIncidents(strings.NewReader(row.text), "i.csv")
		if row.want == "" {
			if err != nil || len(all) != 1 || all[0].Extra["kind"] != "x" || all[0].End.Sub(all[0].Start) != time.Hour {
				t.Errorf("%q: %+v, %v", row.text, all, err)
			}
			continue
		}
		for want := range strings.SplitSeq(row.want, "|") {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %s", row.text, err, want)
			}
		}
	}
}

func FuzzReadIncidents(f *testing.F) {
	f.Add("service,tenant,start,end\napi,a,1,2\n")
	f.Add("service,start,end\n\"api,1,2\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ReadIncidents(strings.NewReader(text), "i.csv")
		if err != nil {
			return
		}
		for _, i := range all {
			if i.Service == "" || !i.End.After(i.Start) {
				t.Errorf("kept %+v", i)
			}
		}
	})
}
