package slo

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

func TestPolicies(t *testing.T) {
	for _, row := range []struct{ name, windows, tiers string }{
		{"default", "5m 30m 1h 6h", "fast page 14.4x 1h/5m, medium page 6x 6h/30m"},
		{"sre", "5m 30m 1h 2h 6h 1d 3d", "fast page 14.4x 1h/5m, medium page 6x 6h/30m, slow ticket 3x 1d/2h, long ticket 1x 3d/6h"},
		{"lenient", "5m 30m 1h 6h", "fast page 4x 1h/5m, medium page 2x 6h/30m"},
	} {
		p, err := PolicyNamed(row.name)
		if err != nil {
			t.Fatal(err)
		}
		if got := windowsOf(p); got != row.windows {
			t.Errorf("%s: windows %s, want %s", row.name, got, row.windows)
		}
		if got := tiersOf(p); got != row.tiers {
			t.Errorf("%s: tiers %s, want %s", row.name, got, row.tiers)
		}
		for _, tier := range p.Tiers {
			if tier.Short*12 != tier.Long {
				t.Errorf("%s %s: %s is no twelfth of %s", row.name, tier.Name, tier.Short, tier.Long)
			}
		}
	}
	if DefaultPolicy().Name != "default" {
		t.Errorf("default policy is %s", DefaultPolicy().Name)
	}
	if _, err := PolicyNamed("google"); err == nil || !strings.Contains(err.Error(), `policy "google" is unknown: write one of [default sre lenient]`) {
		t.Errorf("unknown policy: %v", err)
	}
	Policies()[0].Tiers[0].Factor = 1
	if DefaultPolicy().Tiers[0].Factor != 14.4 {
		t.Error("a caller changed the built-in policy")
	}
}

func TestPolicyScale(t *testing.T) {
	for _, row := range []struct {
		factor float64
		want   string
	}{
		{1, "fast page 14.4x 1h/5m, medium page 6x 6h/30m"},
		{0.1, "fast page 14.4x 6m/30s, medium page 6x 36m/3m"},
		{1. / 60, "fast page 14.4x 1m/5s, medium page 6x 6m/30s"},
		{1e-9, "fast page 14.4x 1s/1s, medium page 6x 1s/1s"},
		{2, "fast page 14.4x 2h/10m, medium page 6x 12h/1h"},
	} {
		p := DefaultPolicy()
		if got := tiersOf(p.Scale(row.factor)); got != row.want {
			t.Errorf("%v: got %s, want %s", row.factor, got, row.want)
		}
		if !reflect.DeepEqual(p, DefaultPolicy()) {
			t.Errorf("%v: scaling changed the policy itself", row.factor)
		}
	}
}

func TestObjectiveScaleKeepsFactors(t *testing.T) {
	threshold := Threshold{Value: 0.02, Unit: UnitBudget, Within: hour}
	o := Objective{
		Target: 0.995, Window: month, Policy: DefaultPolicy(), Record: []time.Duration{day}, Threshold: &threshold,
		Indicator: Latency{Metric: "http_request_duration_seconds", Threshold: 300 * time.Millisecond},
	}
	small := o.Scale(1. / 720)
	if small.Window != hour || small.Record[0] != 2*time.Minute || small.Policy.Tiers[0].Long != 5*time.Second {
		t.Errorf("scaled to %s, %s, %s", small.Window, small.Record, tiersOf(small.Policy))
	}
	if got := small.Threshold.BurnRate(small.Target, small.Window); got != 14.4 {
		t.Errorf("the threshold became %vx, want 14.4x", got)
	}
	if small.Indicator != o.Indicator {
		t.Errorf("the latency itself was scaled: %+v", small.Indicator)
	}
	if threshold.Within != hour || o.Record[0] != day {
		t.Error("scaling changed the objective itself")
	}
	if !reflect.DeepEqual(o.Scale(1), o) {
		t.Error("scaling by 1 changed something")
	}
}

func TestWithThreshold(t *testing.T) {
	budget := func(v float64, within time.Duration) Threshold {
		return Threshold{Value: v, Unit: UnitBudget, Within: within}
	}
	for _, row := range []struct {
		name      string
		policy    Policy
		threshold Threshold
		want      string
	}{
		{"a bare threshold is the fastest tier's", DefaultPolicy(), must(ReadThreshold(0.08)), "fast page 16x 1h/5m, medium page 6x 6h/30m"},
		{"within 1h is the fast tier's", DefaultPolicy(), budget(0.05, hour), "fast page 36x 1h/5m, medium page 6x 6h/30m"},
		{"within 6h is the medium tier's", DefaultPolicy(), budget(0.1, 6*hour), "fast page 14.4x 1h/5m, medium page 12x 6h/30m"},
		{"any other within is a tier of its own", DefaultPolicy(), budget(0.05, 2*hour), "fast page 14.4x 1h/5m, contract page 18x 2h/10m, medium page 6x 6h/30m"},
		{"slower than all", DefaultPolicy(), budget(0.1, day), "fast page 14.4x 1h/5m, medium page 6x 6h/30m, contract page 3x 1d/2h"},
		{"a twelfth is rounded to seconds", DefaultPolicy(), budget(0.05, 100*time.Second), "contract page 1296x 100s/8s, fast page 14.4x 1h/5m, medium page 6x 6h/30m"},
		{"no tiers at all", Policy{}, must(ReadThreshold(0.08)), "contract page 16x 1h/5m"},
	} {
		before := tiersOf(row.policy)
		if got := tiersOf(row.policy.WithThreshold(row.threshold, 0.995, month)); got != row.want {
			t.Errorf("%s: got %s, want %s", row.name, got, row.want)
		}
		if tiersOf(row.policy) != before {
			t.Errorf("%s: the policy itself changed", row.name)
		}
	}
}

func TestFormatWindow(t *testing.T) {
	for _, row := range []struct {
		d    time.Duration
		want string
	}{
		{5 * minute, "5m"}, {90 * minute, "90m"}, {hour, "1h"}, {36 * hour, "36h"}, {day, "1d"}, {28 * day, "28d"}, {month, "30d"},
		{365 * day, "365d"}, {time.Second, "1s"}, {90 * time.Second, "90s"}, {1500 * time.Millisecond, "1500ms"}, {0, "0ms"},
	} {
		if got := FormatWindow(row.d); got != row.want {
			t.Errorf("%s: got %s, want %s", row.d, got, row.want)
		}
	}
}

func TestParseWindow(t *testing.T) {
	for _, row := range []struct {
		text string
		want time.Duration // 0 means refused
	}{
		{"5m", 5 * minute}, {"1h", hour}, {"30d", month}, {"4w", 28 * day}, {"1y", 365 * day}, {"1h30m", 90 * minute},
		{"1d12h", 36 * hour}, {"500ms", 500 * time.Millisecond}, {"1s500ms", 1500 * time.Millisecond}, {"100y", 36500 * day},
		{"0d5m", 5 * minute},
		{text: ""}, {text: "0"}, {text: "0m"}, {text: "5"}, {text: "m"}, {text: "-5m"}, {text: "1.5h"}, {text: "5 m"}, {text: " 5m"},
		{text: "5M"}, {text: "5min"}, {text: "30m1h"}, {text: "1m1m"}, {text: "101y"}, {text: "100y1ms"}, {text: "99999999999999999999s"},
		{text: "2147483647y2147483647w"}, {text: "P1D"}, {text: "٥m"},
	} {
		got, err := ParseWindow(row.text)
		if got != row.want || (err != nil) != (row.want == 0) {
			t.Errorf("%q: got %s, %v, want %s", row.text, got, err, row.want)
		}
		if err != nil && !strings.Contains(err.Error(), "such as 5m, 1h or 30d") {
			t.Errorf("%q: %v does not say what to write", row.text, err)
		}
	}
}

// FuzzParseWindow compares with the parser of Prometheus, which reads the rules that windows end up in.
func FuzzParseWindow(f *testing.F) {
	for _, s := range []string{"5m", "1h30m", "30d", "4w", "100y", "1ms", "0", "1m1m", "2147483648s", "m", "1h1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseWindow(s)
		theirs, theirErr := model.ParseDuration(s)
		if err != nil {
			if theirErr == nil && theirs > 0 && time.Duration(theirs) <= 100*365*day && len(s) < 10 {
				t.Fatalf("%q is refused: %v; Prometheus reads %s", s, err, theirs)
			}
			return
		}
		if theirErr != nil || time.Duration(theirs) != got {
			t.Fatalf("%q: got %s; Prometheus reads %s, %v", s, got, theirs, theirErr)
		}
		if again, err := ParseWindow(FormatWindow(got)); got%time.Millisecond == 0 && (err != nil || again != got) {
			t.Fatalf("%q prints as %s and reads back as %s, %v", s, FormatWindow(got), again, err)
		}
	})
}

func TestWindowRoundTrip(t *testing.T) {
	for d := time.Millisecond; d <= 100*365*day; d = d*3/2 + time.Millisecond {
		d = d.Truncate(time.Millisecond)
		got, err := ParseWindow(FormatWindow(d))
		if err != nil || got != d {
			t.Errorf("%s prints as %s and reads back as %s, %v", d, FormatWindow(d), got, err)
		}
	}
}

func windowsOf(p Policy) string {
	var names []string
	for _, w := range p.Windows() {
		names = append(names, FormatWindow(w))
	}
	return strings.Join(names, " ")
}

func tiersOf(p Policy) string {
	var names []string
	for _, t := range p.Tiers {
		names = append(names, t.Name+" "+t.Severity+" "+FormatNumber(t.Factor)+"x "+FormatWindow(t.Long)+"/"+FormatWindow(t.Short))
	}
	return strings.Join(names, ", ")
}
