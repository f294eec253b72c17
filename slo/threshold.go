package slo

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Unit says how a contract wrote its burnRateThreshold.
type Unit string

// The four ways to write a threshold.
const (
	UnitBurnRate   Unit = "burn rate"   // 16, '16x', {burnRate: 16}
	UnitErrorRatio Unit = "error ratio" // 0.08, '8%', {errorRatio: 0.08}
	UnitBudget     Unit = "budget"      // {budget: '2%', within: '1h'}
)

// Threshold is a contract's own alerting threshold. Value is in Unit; Within belongs to UnitBudget.
type Threshold struct {
	Value  float64       `json:"value"`
	Unit   Unit          `json:"unit"`
	Within time.Duration `json:"within,omitempty"`
}

// ReadThreshold resolves the unit trap of a bare number: from 1 up it is a burn rate, inside (0, 1) an
// error ratio, since a burn rate below 1 can't be an alert.
func ReadThreshold(v float64) (Threshold, error) {
	switch {
	case math.IsInf(v, 1):
		return Threshold{}, errors.New("threshold is infinite: write a burn rate such as 14.4 or an error ratio such as 8%")
	case v >= 1:
		return Threshold{Value: v, Unit: UnitBurnRate}, nil
	case v > 0:
		return Threshold{Value: v, Unit: UnitErrorRatio}, nil
	default:
		return Threshold{}, fmt.Errorf("threshold %s is not above 0: write a burn rate such as 14.4 or an error ratio such as 8%%", FormatNumber(v))
	}
}

// ParseThreshold reads the spelled forms: '16x', '8%' or a bare number.
func ParseThreshold(s string) (Threshold, error) {
	text := strings.TrimSpace(s)
	if n, ok := strings.CutSuffix(text, "x"); ok {
		return parseThresholdAs(s, n, UnitBurnRate, 1)
	}
	if n, ok := strings.CutSuffix(text, "%"); ok {
		return parseThresholdAs(s, n, UnitErrorRatio, 100)
	}
	r, ok := parseDecimal(text)
	if !ok {
		return Threshold{}, fmt.Errorf("threshold %q is not a number: write 16, '16x', '8%%' or {budget: '2%%', within: '1h'}", s)
	}
	f, _ := r.Float64()
	return ReadThreshold(f)
}

func parseThresholdAs(whole, number string, unit Unit, divisor float64) (Threshold, error) {
	r, ok := parseDecimal(strings.TrimSpace(number))
	if !ok || r.Sign() <= 0 {
		return Threshold{}, fmt.Errorf("threshold %q is not a positive %s: write '16x' or '8%%'", whole, unit)
	}
	f, _ := r.Float64()
	return Threshold{Value: divide(f, divisor), Unit: unit}, nil
}

// Key is the member by which an explicit form says the unit: {burnRate}, {errorRatio} or {budget, within}.
func (u Unit) Key() string {
	switch u {
	case UnitBurnRate:
		return "burnRate"
	case UnitErrorRatio:
		return "errorRatio"
	case UnitBudget:
		return "budget"
	}
	panic("slo: unit " + string(u))
}

// StatedThreshold reads the member of an explicit form that is a number.
func StatedThreshold(u Unit, v float64) (Threshold, error) {
	return stated(u, v, FormatNumber(v))
}

// ParseStated reads the member of an explicit form that is a text: a number with the sign that fits the unit, or
// without. A burn rate of 16% is refused, since nobody can know which of the two is meant.
func ParseStated(u Unit, text string) (Threshold, error) {
	sign, divisor := "%", 100.
	if u == UnitBurnRate {
		sign, divisor = "x", 1
	}
	number, signed := strings.CutSuffix(strings.TrimSpace(text), sign)
	r, ok := parseDecimal(strings.TrimSpace(number))
	if !ok {
		return Threshold{}, notPositive(u, fmt.Sprintf("%q", text))
	}
	f, _ := r.Float64()
	if signed {
		f = divide(f, divisor)
	}
	return stated(u, f, fmt.Sprintf("%q", text))
}

func stated(u Unit, v float64, said string) (Threshold, error) {
	if u != UnitBurnRate && (v <= 0 || v > 1) {
		return Threshold{}, fmt.Errorf("threshold %s %s is out of range: write a share in (0, 1] or a percentage such as '8%%'", u, FormatNumber(v))
	}
	if !(v > 0) || math.IsInf(v, 1) {
		return Threshold{}, notPositive(u, said)
	}
	return Threshold{Value: v, Unit: u}, nil
}

func notPositive(u Unit, said string) error {
	return fmt.Errorf("threshold's %s %s is not a positive number: write 16, '16x', '8%%' or {budget: '2%%', within: '1h'}", u.Key(), said)
}

// BurnRate is the threshold as a multiple of the budget, for an objective of that target and period.
func (t Threshold) BurnRate(target Target, window time.Duration) float64 {
	switch t.Unit {
	case UnitBurnRate:
		return t.Value
	case UnitErrorRatio:
		return target.BurnRate(t.Value)
	case UnitBudget:
		return FactorFor(t.Value, t.Within, window)
	}
	panic("slo: threshold of unit " + string(t.Unit))
}

// Check reports a threshold that can never fire, or that fires on a service which keeps its promise.
func (t Threshold) Check(target Target, window time.Duration) error {
	if t.Unit == UnitBudget && (t.Within <= 0 || t.Within > window) {
		return fmt.Errorf("threshold's within %s is outside the SLO window %s", FormatWindow(t.Within), FormatWindow(window))
	}
	rate := t.BurnRate(target, window)
	if limit := target.MaxBurnRate(); !(rate < limit) { // NaN as well
		return fmt.Errorf("threshold %s is a burn rate of %sx, and a total outage of a %s target burns at %sx: it can never fire; write less than %sx",
			t, FormatNumber(rate), target, FormatNumber(limit), FormatNumber(limit))
	}
	if rate < 1 {
		return fmt.Errorf("threshold %s is a burn rate of %sx: below 1x a service that keeps its %s target would fire; write at least %s",
			t, FormatNumber(rate), target, FormatPercent(target.Budget()))
	}
	return nil
}

// String prints the threshold as the contract meant it.
func (t Threshold) String() string {
	switch t.Unit {
	case UnitBurnRate:
		return FormatNumber(t.Value) + "x"
	case UnitErrorRatio:
		return FormatPercent(t.Value)
	case UnitBudget:
		return FormatPercent(t.Value) + " of the budget within " + FormatWindow(t.Within)
	}
	panic("slo: threshold of unit " + string(t.Unit))
}

// errWindow says what a window looks like.
var errWindow = errors.New("write a whole number with s, m, h, d or w, such as 5m, 1h or 30d")
