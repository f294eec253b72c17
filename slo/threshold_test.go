package slo

import (
	"math"
	"strings"
	"testing"
	"time"
)

const month = 30 * day

func TestParseThreshold(t *testing.T) {
	for _, row := range []struct {
		text string
		want Threshold
		err  string
	}{
		{text: "16x", want: Threshold{Value: 16, Unit: UnitBurnRate}},
		{text: "14.4 x", want: Threshold{Value: 14.4, Unit: UnitBurnRate}},
		{text: "0.5x", want: Threshold{Value: 0.5, Unit: UnitBurnRate}}, // taken at its word; Check refuses it
		{text: "8%", want: Threshold{Value: 0.08, Unit: UnitErrorRatio}},
		{text: "7.2 %", want: Threshold{Value: 0.072, Unit: UnitErrorRatio}},
		{text: "250%", want: Threshold{Value: 2.5, Unit: UnitErrorRatio}}, // Check refuses it
		{text: "16", want: Threshold{Value: 16, Unit: UnitBurnRate}},
		{text: "1", want: Threshold{Value: 1, Unit: UnitBurnRate}},
		{text: "0.08", want: Threshold{Value: 0.08, Unit: UnitErrorRatio}},
		{text: "8e-2", want: Threshold{Value: 0.08, Unit: UnitErrorRatio}},

		{text: "0", err: "threshold 0 is not above 0"},
		{text: "-3", err: "threshold -3 is not above 0"},
		{text: "0x", err: `threshold "0x" is not a positive burn rate`},
		{text: "-8%", err: `threshold "-8%" is not a positive error ratio`},
		{text: "1e-400x", err: "is not a positive burn rate"},
		{text: "x", err: "is not a positive burn rate"},
		{text: "%", err: "is not a positive error ratio"},
		{text: "", err: "is not a number: write 16, '16x', '8%'"},
		{text: "NaN", err: "is not a number"},
		{text: "Infx", err: "is not a positive burn rate"},
		{text: "0x10", err: "is not a number"},
		{text: "16X", err: "is not a number"},
		{text: "1e99", err: "is not a number"},
	} {
		got, err := ParseThreshold(row.text)
		switch {
		case row.err == "" && (err != nil || got != row.want):
			t.Errorf("%q: got %+v, %v, want %+v", row.text, got, err, row.want)
		case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
			t.Errorf("%q: got %+v, %v, want an error with %q", row.text, got, err, row.err)
		}
	}
}

// TestWhat008Means holds every reading of burnRateThreshold: 0.08 at a target of 99.5% over 30 days.
func TestWhat008Means(t *testing.T) {
	const target = Target(0.995)
	for _, row := range []struct {
		name      string
		threshold Threshold
		factor    float64
		ratio     float64
		valid     bool
	}{
		{"burn rate", Threshold{Value: 0.08, Unit: UnitBurnRate}, 0.08, 0.0004, false},
		{"bare number", must(ReadThreshold(0.08)), 16, 0.08, true},
		{"error ratio", Threshold{Value: 0.08, Unit: UnitErrorRatio}, 16, 0.08, true},
		{"budget in 1h", Threshold{Value: 0.08, Unit: UnitBudget, Within: hour}, 57.6, 0.288, true},
		{"budget in 6h", Threshold{Value: 0.08, Unit: UnitBudget, Within: 6 * hour}, 9.6, 0.048, true},
		{"budget in 24h", Threshold{Value: 0.08, Unit: UnitBudget, Within: day}, 2.4, 0.012, true},
	} {
		factor := row.threshold.BurnRate(target, month)
		if factor != row.factor {
			t.Errorf("%s: got %vx, want %vx", row.name, factor, row.factor)
		}
		if got := target.ErrorRatio(factor); got != row.ratio {
			t.Errorf("%s: got an error ratio of %v, want %v", row.name, got, row.ratio)
		}
		if err := row.threshold.Check(target, month); (err == nil) != row.valid {
			t.Errorf("%s: got %v, want valid: %v", row.name, err, row.valid)
		}
	}
	if spent := BudgetSpent(16, hour, month); math.Abs(spent-0.0222) > 1e-4 {
		t.Errorf("16x over an hour spends %v, want 2.2%%", spent)
	}
}

func TestReadThresholdRefuses(t *testing.T) {
	for _, v := range []float64{0, -0.08, -14.4, math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got, err := ReadThreshold(v); err == nil {
			t.Errorf("%v is taken as %v", v, got)
		}
	}
}

func TestThresholdCheck(t *testing.T) {
	rate := func(v float64) Threshold { return Threshold{Value: v, Unit: UnitBurnRate} }
	budget := func(v float64, within time.Duration) Threshold {
		return Threshold{Value: v, Unit: UnitBudget, Within: within}
	}
	for _, row := range []struct {
		target    Target
		threshold Threshold
		err       string // empty: the threshold is sound
	}{
		{0.995, rate(14.4), ""},
		{0.995, rate(1), ""},
		{0.995, rate(199.9), ""},
		{0.995, rate(200), "threshold 200x is a burn rate of 200x, and a total outage of a 99.5% target burns at 200x: it can never fire; write less than 200x"},
		{0.995, rate(1000), "it can never fire; write less than 200x"},
		{0.9, rate(14.4), "a total outage of a 90% target burns at 10x: it can never fire"},
		{0.9, rate(9.99), ""},
		{0.9, must(ParseThreshold("100%")), "it can never fire"},
		{0.9, must(ParseThreshold("99.9%")), ""},
		{0.995, budget(0.02, hour), ""},
		{0.995, budget(0.5, hour), "threshold 50% of the budget within 1h is a burn rate of 360x"},
		{0.995, must(ParseThreshold("0.5%")), ""},
		{0.995, must(ParseThreshold("0.49%")), "threshold 0.49% is a burn rate of 0.98x: below 1x a service that keeps its 99.5% target would fire; write at least 0.5%"},
		{0.995, rate(0.99), "below 1x"},
		{0.995, budget(0.02, 0), "threshold's within 0ms is outside the SLO window 30d"},
		{0.995, budget(0.02, -hour), "is outside the SLO window 30d"},
		{0.995, budget(0.02, 31*day), "threshold's within 31d is outside the SLO window 30d"},
		{0.995, rate(math.NaN()), "it can never fire"},
		{0.995, rate(math.Inf(1)), "it can never fire"},
	} {
		err := row.threshold.Check(row.target, month)
		switch {
		case row.err == "" && err != nil:
			t.Errorf("%s at %s: %v", row.threshold, row.target, err)
		case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
			t.Errorf("%s at %s: got %v, want %q", row.threshold, row.target, err, row.err)
		}
	}
}

func FuzzParseThreshold(f *testing.F) {
	for _, s := range []string{"16x", "8%", "0.08", "1", "1e-400x", "-8%", "0x10", "x", "99999999999999999999%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		threshold, err := ParseThreshold(s)
		if err != nil {
			return
		}
		if !(threshold.Value > 0) || math.IsInf(threshold.Value, 0) {
			t.Fatalf("%q is taken as %v", s, threshold.Value)
		}
		again, err := ParseThreshold(threshold.String())
		if err == nil && again != threshold {
			t.Fatalf("%q prints as %s and reads back as %+v", s, threshold, again)
		}
		if threshold.Check(0.995, month) != nil {
			return
		}
		if rate := threshold.BurnRate(0.995, month); !(rate >= 1 && rate < 200) {
			t.Fatalf("%q passes as %vx", s, rate)
		}
	})
}
