package slo

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Target is the promised share of good events, in (0, 1).
type Target float64

// ParseTarget reads a target as the tag, decorator and constructor spell it: 0.995 or 99.5%.
// A percentage needs its sign; a bare 99.5 is an error that says what to write.
func ParseTarget(s string) (Target, error) {
	text := strings.TrimSpace(s)
	number, percent := strings.CutSuffix(text, "%")
	r, ok := parseDecimal(strings.TrimSpace(number))
	if !ok {
		return 0, fmt.Errorf("target %q is not a number: write 0.995 or 99.5%%", s)
	}
	if percent {
		r.Quo(r, big.NewRat(100, 1))
	}
	f, _ := r.Float64()
	if percent && (f <= 0 || f >= 1) {
		return 0, fmt.Errorf("target %s outside (0%%, 100%%): write a percentage such as 99.5%%", text)
	}
	return NewTarget(f)
}

// NewTarget checks that f is inside (0, 1).
func NewTarget(f float64) (Target, error) {
	if f > 0 && f < 1 {
		return Target(f), nil
	}
	if f > 1 && f < 100 {
		return 0, fmt.Errorf("target %s outside (0, 1): write %s%% or %s",
			FormatNumber(f), FormatNumber(f), FormatNumber(divide(f, 100)))
	}
	return 0, fmt.Errorf("target %s outside (0, 1): write a share such as 0.995 or a percentage such as 99.5%%", FormatNumber(f))
}

// Budget is 1 - target, computed in decimal: 1 - 0.995 is 0.005, not 0.0050000000000000044.
func (t Target) Budget() float64 {
	f, _ := new(big.Rat).Sub(big.NewRat(1, 1), decimal(float64(t))).Float64()
	return f
}

// MaxBurnRate is the burn rate of a total outage, 1/(1-target): a threshold at or above it can never fire.
func (t Target) MaxBurnRate() float64 {
	f, _ := new(big.Rat).Inv(new(big.Rat).Sub(big.NewRat(1, 1), decimal(float64(t)))).Float64()
	return f
}

// ErrorRatio is the share of failed events that burns the budget at the given rate.
func (t Target) ErrorRatio(burnRate float64) float64 { return multiply(burnRate, t.Budget()) }

// BurnRate is how fast the given share of failed events spends the budget; 1 spends it exactly over the window.
func (t Target) BurnRate(errorRatio float64) float64 { return divide(errorRatio, t.Budget()) }

// String prints the target as a percentage in its shortest form: 99.5%.
func (t Target) String() string { return FormatPercent(float64(t)) }

// BudgetSpent is the share of the whole budget that burning at rate for d spends, over an SLO period window.
func BudgetSpent(rate float64, d, window time.Duration) float64 {
	return scaleBy(rate, int64(d), int64(window))
}

// FactorFor is the burn rate that spends the share spent of the budget within d, over an SLO period window:
// spent × window / d (SRE workbook, chapter 5).
func FactorFor(spent float64, d, window time.Duration) float64 {
	return scaleBy(spent, int64(window), int64(d))
}

// scaleBy is f × numerator / denominator in decimal.
func scaleBy(f float64, numerator, denominator int64) float64 {
	if denominator == 0 || !finite(f) {
		return f * float64(numerator) / float64(denominator) // as floats have it: an infinity or NaN
	}
	scaled, _ := new(big.Rat).Mul(decimal(f), big.NewRat(numerator, denominator)).Float64()
	return scaled
}

// FormatNumber prints f exactly and in its shortest form, without an exponent for the sizes that SLOs have.
func FormatNumber(f float64) string {
	if f != 0 && (f < 1e-9 && f > -1e-9 || f >= 1e15 || f <= -1e15) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// FormatPercent prints the ratio f as a percentage in its shortest form.
func FormatPercent(f float64) string { return FormatNumber(multiply(f, 100)) + "%" }

// decimal is the number a person sees when f is printed in its shortest form.
func decimal(f float64) *big.Rat {
	r, ok := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	if !ok {
		return new(big.Rat) // NaN and infinities have no decimal form; callers check ranges first
	}
	return r
}

// parseDecimal reads a plain decimal number; fractions and hexadecimal, which big.Rat would take, are refused,
// and so are sizes that no target or threshold has.
func parseDecimal(s string) (*big.Rat, bool) {
	if s == "" || len(s) > 40 || strings.Trim(s, "0123456789.eE+-") != "" {
		return nil, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f > 1e18 || f < -1e18 {
		return nil, false
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(s), "e")
	if zero := !strings.ContainsAny(mantissa, "123456789"); !zero && f < 1e-18 && f > -1e-18 {
		return nil, false // 1e-400 too, which ParseFloat rounds to 0
	}
	return new(big.Rat).SetString(s)
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

func multiply(a, b float64) float64 {
	if !finite(a) || !finite(b) {
		return a * b
	}
	f, _ := new(big.Rat).Mul(decimal(a), decimal(b)).Float64()
	return f
}

func divide(a, b float64) float64 {
	if b == 0 || !finite(a) || !finite(b) {
		return a / b
	}
	f, _ := new(big.Rat).Quo(decimal(a), decimal(b)).Float64()
	return f
}
