package slo

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseTarget(t *testing.T) {
	for _, row := range []struct {
		text string
		want Target
		err  string // a part of the message; empty means none
	}{
		{text: "0.995", want: 0.995},
		{text: " 0.995 ", want: 0.995},
		{text: "99.5%", want: 0.995},
		{text: "99.5 %", want: 0.995},
		{text: "99.99%", want: 0.9999},
		{text: "99.999%", want: 0.99999},
		{text: "0.5%", want: 0.005},
		{text: ".9", want: 0.9},
		{text: "1e-3", want: 0.001},
		{text: "9.95e-1", want: 0.995},
		{text: "+0.995", want: 0.995},

		{text: "99.5", err: "target 99.5 outside (0, 1): write 99.5% or 0.995"},
		{text: "99.9", err: "write 99.9% or 0.999"},
		{text: "1.2", err: "target 1.2 outside (0, 1)"},
		{text: "0", err: "target 0 outside (0, 1)"},
		{text: "1", err: "target 1 outside (0, 1)"},
		{text: "-1", err: "target -1 outside (0, 1)"},
		{text: "995", err: "target 995 outside (0, 1)"},
		{text: "0%", err: "target 0% outside (0%, 100%)"},
		{text: "100%", err: "target 100% outside (0%, 100%)"},
		{text: "150%", err: "target 150% outside (0%, 100%)"},
		{text: "-5%", err: "target -5% outside (0%, 100%)"},
		{text: "0.99999999999999999999", err: "outside (0, 1)"}, // no float below 1 is nearer
		{text: "99.99999999999999999999%", err: "outside (0%, 100%)"},

		{text: "", err: "is not a number: write 0.995 or 99.5%"},
		{text: "%", err: "is not a number"},
		{text: "99.5%%", err: "is not a number"},
		{text: "three nines", err: "is not a number"},
		{text: "NaN", err: "is not a number"},
		{text: "Inf", err: "is not a number"},
		{text: "0x1p-2", err: "is not a number"},
		{text: "1/2", err: "is not a number"},
		{text: "0,995", err: "is not a number"},
		{text: "0_9", err: "is not a number"},
		{text: "٠.٩", err: "is not a number"},
		{text: "1e", err: "is not a number"},
		{text: "1e999999999", err: "is not a number"},
		{text: "1e-999999999", err: "is not a number"},
		{text: "1e-400", err: "is not a number"},
		{text: "0." + strings.Repeat("9", 1_000_000), err: "is not a number"},
	} {
		got, err := ParseTarget(row.text)
		name := row.text[:min(len(row.text), 30)]
		switch {
		case row.err == "" && (err != nil || got != row.want):
			t.Errorf("%q: got %v, %v, want %v", name, float64(got), err, float64(row.want))
		case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
			t.Errorf("%q: got %v, %v, want an error with %q", name, float64(got), err, row.err)
		}
	}
}

func TestNewTargetRefusesWhatIsNoShare(t *testing.T) {
	for _, f := range []float64{0, 1, -1, math.Copysign(0, -1), 1.0000001, 99.5, 100, 1e300, math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got, err := NewTarget(f); err == nil || !strings.Contains(err.Error(), "outside (0, 1)") {
			t.Errorf("%v: got %v, %v", f, got, err)
		}
	}
	for _, f := range []float64{math.SmallestNonzeroFloat64, 1e-3, 0.5, math.Nextafter(1, 0)} {
		if got, err := NewTarget(f); err != nil || float64(got) != f {
			t.Errorf("%v: got %v, %v", f, got, err)
		}
	}
}

func TestBudgetIsDecimal(t *testing.T) {
	for _, row := range []struct {
		target              Target
		text, budget, limit string
	}{
		{0.5, "50%", "0.5", "2"},
		{0.7, "70%", "0.3", "3.3333333333333335"},
		{0.9, "90%", "0.1", "10"},
		{0.95, "95%", "0.05", "20"},
		{0.97, "97%", "0.03", "33.333333333333336"},
		{0.99, "99%", "0.01", "100"},
		{0.995, "99.5%", "0.005", "200"}, // in floats 1 - 0.995 is 0.0050000000000000044
		{0.999, "99.9%", "0.001", "1000"},
		{0.9995, "99.95%", "0.0005", "2000"},
		{0.9999, "99.99%", "0.0001", "10000"},
		{0.99999, "99.999%", "0.00001", "100000"},
		{0.999999, "99.9999%", "0.000001", "1000000"},
	} {
		if got := row.target.String(); got != row.text {
			t.Errorf("%v prints as %s, want %s", float64(row.target), got, row.text)
		}
		if got := FormatNumber(row.target.Budget()); got != row.budget {
			t.Errorf("budget of %s: got %s, want %s", row.text, got, row.budget)
		}
		if got := FormatNumber(row.target.MaxBurnRate()); got != row.limit {
			t.Errorf("burn rate of an outage of %s: got %s, want %s", row.text, got, row.limit)
		}
	}
}

// TestBudgetAgainstRationals computes budgets by string arithmetic on the decimals that a person would write.
func TestBudgetAgainstRationals(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		digits := 1 + random.IntN(9)
		scale := int64(math.Pow10(digits))
		n := 1 + random.Int64N(scale-1)
		target, err := ParseTarget(big.NewRat(n, scale).FloatString(digits))
		if err != nil {
			t.Fatal(err)
		}
		exact := big.NewRat(scale-n, scale)
		want, _ := exact.Float64()
		if got := target.Budget(); got != want {
			t.Fatalf("budget of %d/%d: got %v, want %v", n, scale, got, want)
		}
		limit, _ := exact.Inv(exact).Float64()
		if got := target.MaxBurnRate(); got != limit {
			t.Fatalf("limit of %d/%d: got %v, want %v", n, scale, got, limit)
		}
		if again, err := ParseTarget(target.String()); err != nil || again != target {
			t.Fatalf("%s reads back as %v, %v", target, again, err)
		}
	}
}

// TestWorkbook holds the table of the SRE workbook, chapter 5, for any target over 30 days.
func TestWorkbook(t *testing.T) {
	const month = 30 * day
	for _, row := range []struct {
		long   time.Duration
		factor float64
		spent  float64
	}{
		{hour, 14.4, 0.02}, {6 * hour, 6, 0.05}, {day, 3, 0.10}, {3 * day, 1, 0.10},
	} {
		if got := BudgetSpent(row.factor, row.long, month); got != row.spent {
			t.Errorf("%vx over %s spends %v, want %v", row.factor, row.long, got, row.spent)
		}
		if got := FactorFor(row.spent, row.long, month); got != row.factor {
			t.Errorf("%v in %s is %vx, want %vx", row.spent, row.long, got, row.factor)
		}
	}
}

// TestErrorRatios holds thresholds as error ratios: at 0.995 the fastest tier fires above 7.2 %.
func TestErrorRatios(t *testing.T) {
	for _, row := range []struct {
		target      Target
		rate, ratio float64
	}{
		{0.995, 14.4, 0.072}, {0.995, 6, 0.03}, {0.995, 3, 0.015}, {0.995, 1, 0.005},
		{0.999, 14.4, 0.0144}, {0.999, 6, 0.006}, {0.99, 14.4, 0.144}, {0.9, 10, 1}, {0.995, 16, 0.08},
	} {
		if got := row.target.ErrorRatio(row.rate); got != row.ratio {
			t.Errorf("%vx at %s: got %v, want %v", row.rate, row.target, got, row.ratio)
		}
		if got := row.target.BurnRate(row.ratio); got != row.rate {
			t.Errorf("%v at %s: got %vx, want %vx", row.ratio, row.target, got, row.rate)
		}
	}
}

// TestMinutesToDetection holds t = L × B × b / e for outages that begin at an error ratio of 0.
func TestMinutesToDetection(t *testing.T) {
	tiers := must(PolicyNamed("sre")).Tiers
	for _, row := range []struct {
		target  Target
		ratio   float64
		minutes [4]float64 // 0 means never
	}{
		{0.999, 1, [4]float64{0.864, 2.16, 4.32, 4.32}},
		{0.999, 0.1, [4]float64{8.64, 21.6, 43.2, 43.2}},
		{0.999, 0.01, [4]float64{0, 216, 432, 432}},
		{0.995, 1, [4]float64{4.32, 10.8, 21.6, 21.6}},
		{0.995, 0.1, [4]float64{43.2, 108, 216, 216}},
		{0.995, 0.072, [4]float64{0, 150, 300, 300}}, // equal is not above
		{0.995, 0.05, [4]float64{0, 216, 432, 432}},
		{0.995, 0.02, [4]float64{0, 0, 1080, 1080}},
		{0.995, 0.01, [4]float64{0, 0, 0, 2160}},
	} {
		for i, tier := range tiers {
			var got float64
			if row.target.BurnRate(row.ratio) > tier.Factor {
				got = tier.Long.Minutes() * row.target.ErrorRatio(tier.Factor) / row.ratio
			}
			if math.Abs(got-row.minutes[i]) > 1e-9 {
				t.Errorf("%v errors at %s, tier %s: got %v min, want %v", row.ratio, row.target, tier.Name, got, row.minutes[i])
			}
		}
	}
}

func TestArithmeticOfWhatIsNoNumber(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, got := range map[string]float64{
		"burn rate of NaN":         Target(0.995).BurnRate(nan),
		"error ratio of NaN":       Target(0.995).ErrorRatio(nan),
		"budget spent at NaN":      BudgetSpent(nan, hour, day),
		"factor for NaN":           FactorFor(nan, hour, day),
		"nothing over no window":   BudgetSpent(0, hour, 0),
		"nothing within no window": FactorFor(0, 0, day),
	} {
		if !math.IsNaN(got) {
			t.Errorf("%s: got %v", name, got)
		}
	}
	for name, got := range map[string]float64{
		"burn rate of +Inf":       Target(0.995).BurnRate(inf),
		"budget spent at +Inf":    BudgetSpent(inf, hour, day),
		"budget over no window":   BudgetSpent(1, hour, 0),
		"budget within no window": FactorFor(0.02, 0, day),
	} {
		if !math.IsInf(got, 1) {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestFormatNumber(t *testing.T) {
	for _, row := range []struct {
		f    float64
		want string
	}{
		{0, "0"}, {math.Copysign(0, -1), "-0"}, {1, "1"}, {-1, "-1"}, {14.4, "14.4"}, {math.Nextafter(0.3, 1), "0.30000000000000004"},
		{0.00001, "0.00001"}, {1e-9, "0.000000001"}, {1e-10, "1e-10"}, {-1e-10, "-1e-10"}, {5e-324, "5e-324"},
		{1e6, "1000000"}, {999999999999999, "999999999999999"}, {1e15, "1e+15"}, {-1e15, "-1e+15"},
		{math.MaxFloat64, "1.7976931348623157e+308"}, {math.NaN(), "NaN"}, {math.Inf(1), "+Inf"}, {math.Inf(-1), "-Inf"},
	} {
		if got := FormatNumber(row.f); got != row.want {
			t.Errorf("%g: got %s, want %s", row.f, got, row.want)
		}
	}
}

func TestFormatPercent(t *testing.T) {
	for _, row := range []struct {
		f    float64
		want string
	}{
		{0, "0%"}, {1, "100%"}, {0.995, "99.5%"}, {0.07, "7%"}, {0.072, "7.2%"}, {0.0144, "1.44%"}, {0.29, "29%"}, {0.57, "57%"},
		{-0.5, "-50%"}, {2, "200%"}, {1e-12, "1e-10%"}, {1. / 3, "33.33333333333333%"},
		{math.NaN(), "NaN%"}, {math.Inf(1), "+Inf%"},
	} {
		if got := FormatPercent(row.f); got != row.want {
			t.Errorf("%g: got %s, want %s", row.f, got, row.want)
		}
	}
}

func TestFormatNumberReadsBack(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		f := math.Float64frombits(random.Uint64())
		if got, err := strconv.ParseFloat(FormatNumber(f), 64); err != nil || got != f && !math.IsNaN(f) {
			t.Fatalf("%g prints as %s and reads as %g, %v", f, FormatNumber(f), got, err)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"0.995", "99.5%", "99.5 %", "99.5", "0", "1", "-1", "1e-3", "1e-999999999", "0x1p-2", "1/2", "NaN", "+.9e+0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseTarget(s)
		if err != nil {
			return
		}
		if !(target > 0 && target < 1) {
			t.Fatalf("%q is taken as %v", s, float64(target))
		}
		if b := target.Budget(); !(b > 0 && b <= 1) || !(target.MaxBurnRate() >= 1) {
			t.Fatalf("%q has a budget of %v and burns at up to %v", s, b, target.MaxBurnRate())
		}
		if again, err := ParseTarget(FormatNumber(float64(target))); err != nil || again != target {
			t.Fatalf("%q reads back as %v, %v", s, float64(again), err)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
