package backtest

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// TestSentence: how many pages there were, below which share each tenant hears nothing, and what is said of it.
func TestSentence(t *testing.T) {
	for _, row := range []struct {
		pages  int
		floors []float64
		want   []string
	}{
		{0, []float64{0.03}, []string{"these thresholds would never have paged. Errors below 3% would never page."}},
		{1, []float64{0.03, 0.03}, []string{"would have paged once, 0.5 a week.", "Errors below 3% would never page."}},
		{2, []float64{0.03, 0.12}, []string{"would have paged twice, 0.5 a week.", "below 3% would never page; of tenant b, which has few events, none below 12%."}},
		{3, []float64{0.006, 1}, []string{"would have paged 3 times, 0.5 a week.", "below 0.6% would never page; tenant b has too few events to page at all."}},
		{3, []float64{0.05, 0.03, 0.25}, []string{"below 3% would never page; 2 tenants with few events take more, tenant c 25%."}},
		{3, []float64{0.05, 0.03, 1}, []string{"below 3% would never page; 2 tenants with few events take more, and tenant c has too few to page at all."}},
		{0, []float64{1, 1}, []string{"No share of failed events would ever page."}},
	} {
		s := SLO{Service: "api", Name: "availability", Target: 0.995, Window: Span(slo.DefaultWindow), Score: Score{Pages: row.pages, PerWeek: 0.5}}
		for k, floor := range row.floors {
			s.Tenants = append(s.Tenants, Tenant{Name: string(rune('a' + k)), Floor: floor, Rules: []Rule{{Tier: "fast", Verdict: Validated}}})
		}
		got := (&Result{}).Sentence(s)
		for _, want := range row.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v: lacks %q: %s", row.floors, want, got)
			}
		}
	}
}

// TestFloorIsWhatTrafficAndThresholdAllow: with 4 scrapes a minute, 0.1 events each make 24 in the fast tier's hour and 144
// in the medium tier's six.
func TestFloorIsWhatTrafficAndThresholdAllow(t *testing.T) {
	for _, row := range []struct {
		name      string
		perScrape float64
		change    func(*slo.Objective)
		want      float64
	}{
		{"busy", 100, nil, 0.03},
		{"quiet", 0.1, nil, 5.0 / 144},
		{"quiet without a guard", 0.1, func(o *slo.Objective) { o.MinFailures = 0 }, 0.03},
		{"idle", 0.001, nil, 1},
		{"out of reach", 100, func(o *slo.Objective) { o.Target = 0.8 }, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := objective(t, 0.995, "default")
			if row.change != nil {
				row.change(&o)
			}
			r, err := Run(t.Context(), []slo.Objective{o}, world(48*time.Hour, row.perScrape), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.SLOs[0].Tenants[0].Floor; math.Abs(got-row.want) > row.want/50 {
				t.Errorf("floor %g, want %g", got, row.want)
			}
		})
	}
}
