package backtest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/tsdb"
)

// petshop is real history at a resolution of five minutes: see the README beside it.
const petshop = "../../shared/data/petshop"

// coarse are windows that hold enough of it: captures last 25 minutes, each with one issue.
func coarse() slo.Policy {
	return slo.Policy{Name: "coarse", Tiers: []slo.Tier{
		{Name: "fast", Severity: "page", Long: time.Hour, Short: 15 * time.Minute, Factor: 6},
		{Name: "slow", Severity: "page", Long: 6 * time.Hour, Short: 30 * time.Minute, Factor: 3},
	}}
}

func TestPetshop(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(petshop, "incidents.csv"))
	if err != nil {
		t.Skipf("the petshop's data is not here: %v", err)
	}
	all, err := ReadIncidents(bytes.NewReader(text), "incidents.csv")
	if err != nil || len(all) != 68 {
		t.Fatalf("%d incidents, %v", len(all), err)
	}
	incidents := Where(all, "kind", "availability")
	if len(incidents) != 32 {
		t.Fatalf("%d availability incidents, want 32", len(incidents))
	}
	h, err := tsdb.ReadOpenMetrics(t.Context(), filepath.Join(petshop, "metrics.om.gz"), tsdb.HistoryOptions{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // it was only read
	for _, row := range []struct {
		target                         float64
		found, ongoing, pages, outside int // of 32 incidents; which are found, a count of the raw increments says too
	}{{0.995, 17, 8, 14, 2}, {0.999, 32, 19, 23, 7}} {
		o := slo.Objective{
			Service: "PetSite", Name: "availability", Target: slo.Target(row.target), Window: slo.DefaultWindow,
			Indicator: slo.Availability{Errors: `http_requests_total{code="500"}`, Total: "http_requests_total"},
			Tenant:    slo.Tenant{Dynamic: "tenant", Label: "tenant"}, MinFailures: slo.DefaultMinFailures, Policy: coarse(),
			Declared: []slo.Position{{File: "petsite.ts", Line: 1}},
		}
		r, err := Run(t.Context(), []slo.Objective{o}, h, Options{Incidents: incidents})
		if err != nil {
			t.Fatal(err)
		}
		one := r.SLOs[0]
		t.Logf("%g: %s", row.target, r.Sentence(one))
		for _, i := range one.Incidents {
			state := "missed"
			if i.Detected {
				state = "found " + i.Delay.Spell() + " by " + i.Tier
			}
			if i.Ongoing {
				state = "ongoing"
			}
			t.Logf("  %s %s errors %s of %s, spent %.3f%%: %s", i.Tenant, i.Start.Format(time.DateTime), i.Extra["errors"], i.Extra["requests"], 100*i.Spent, state)
		}
		if s := one.Score; s.Detected+s.Ongoing != row.found || s.Ongoing != row.ongoing || s.Incidents != 32 || s.Pages != row.pages || s.Unlabelled != row.outside {
			t.Errorf("%g: %+v, want %+v", row.target, s, row)
		}
		burst := time.Date(2023, 8, 23, 5, 45, 0, 0, time.UTC)
		if !unlabelledAt(one, "low_traffic", burst) {
			t.Errorf("%g: the burst of %s is not among the unlabelled firings", row.target, burst)
		}
	}
}

func unlabelledAt(s SLO, tenant string, at time.Time) bool {
	for _, t := range s.Tenants {
		for _, r := range t.Rules {
			for _, f := range r.Firings {
				if t.Name == tenant && f.Kind == Unlabelled && f.Start.Sub(at).Abs() < 10*time.Minute {
					return true
				}
			}
		}
	}
	return false
}
