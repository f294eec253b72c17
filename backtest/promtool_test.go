package backtest

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestNotation(t *testing.T) {
	nan := math.NaN()
	for _, row := range []struct {
		values []float64
		want   string
	}{
		{[]float64{0, 6, 12, 18}, "0+6x3"},
		{[]float64{5, 5, 5}, "5+0x2"},
		{[]float64{5}, "5+0x0"},
		{[]float64{nan, nan, 0, 1, nan}, "_x2 0+1x1 _x1"},
		{[]float64{7, 9, 3, 4}, "7+2x1 3+1x1"}, // a reset
		{[]float64{0, 0.1, 0.2, 0.3, 0.4}, "0+0.1x2 0.3+0.10000000000000003x1"},
	} {
		if got := notation(row.values); got != row.want {
			t.Errorf("%v: %s, want %s", row.values, got, row.want)
		}
	}
}

// TestNotationSaysAllValues, and evened counters neither fall nor gain.
func TestNotationSaysAllValues(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		values := make([]float64, 1+random.IntN(200))
		sum := 0.0
		for k := range values {
			if sum += float64(random.IntN(400)) / float64(1+random.IntN(2)); random.IntN(60) == 0 {
				sum = float64(random.IntN(9))
			}
			if values[k] = sum; random.IntN(20) == 0 {
				values[k] = math.NaN()
			}
		}
		even := evened(values, 1+random.IntN(60))
		for k := range values {
			if math.IsNaN(values[k]) != math.IsNaN(even[k]) || even[k] > values[k]+400*60 {
				t.Fatalf("evened %v to %v at %d", values[k], even[k], k)
			}
			if k > 0 && values[k] >= values[k-1] != (even[k] >= even[k-1]) {
				t.Fatalf("a reset came or went at %d: %v %v, evened %v %v", k, values[k-1], values[k], even[k-1], even[k])
			}
		}
		for _, written := range [][]float64{values, even} {
			if got := spoken(t, notation(written)); !equalNaN(got, written) {
				t.Fatalf("%v is written %s and read %v", written, notation(written), got)
			}
		}
	}
}

// spoken reads a notation as promtool does.
func spoken(t *testing.T, text string) []float64 {
	t.Helper()
	var all []float64
	for word := range strings.FieldsSeq(text) {
		value, times, _ := strings.Cut(word, "x")
		n, err := strconv.Atoi(times)
		if err != nil {
			t.Fatal(err)
		}
		if value == "_" {
			for range n {
				all = append(all, math.NaN())
			}
			continue
		}
		start, step, _ := strings.Cut(value, "+")
		v, err := strconv.ParseFloat(start, 64)
		by, err2 := strconv.ParseFloat(step, 64)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		for range n + 1 {
			all = append(all, v)
			v += by
		}
	}
	return all
}

func equalNaN(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if a[k] != b[k] && !(math.IsNaN(a[k]) && math.IsNaN(b[k])) {
			return false
		}
	}
	return true
}

// TestCuts: each incident has its own test, firings at one time share one.
func TestCuts(t *testing.T) {
	at := func(hours float64) time.Time { return began.Add(time.Duration(hours * float64(time.Hour))) }
	fires := func(kind Kind, from, to float64) Firing { return Firing{Start: at(from), End: at(to), Kind: kind} }
	s := SLO{
		Objective: objective(t, 0.995, "default"),
		Incidents: []Found{{Incident: fault("acme", 1, 60)}, {Incident: fault("acme", 1.5, 60)}, {Incident: fault("hooli", 2, 60), Unknown: true}, {Incident: fault("", 3, 60)}},
		Tenants: []Tenant{{Name: "acme", Rules: []Rule{
			{Tier: "fast", Firings: []Firing{fires(ForIncident, 1.1, 2), fires(Unlabelled, 5, 6)}},
			{Tier: "medium", Firings: []Firing{fires(Unlabelled, 5.5, 8), fires(Unlabelled, 7, 9), fires(Unlabelled, 20, 21)}},
		}}, {Name: "globex", Rules: []Rule{{Tier: "fast", Firings: []Firing{fires(False, 5, 6)}}}}},
	}
	var got []string
	for _, c := range s.cuts() {
		got = append(got, strings.TrimSpace(c.tenant+" "+c.what+" "+c.from.Format("15:04")+" "+c.to.Sub(c.from).String()))
	}
	want := "acme incident i.csv:1 01:00 1h0m0s; acme incident i.csv:1.5 01:30 1h0m0s; acme unlabelled firing of tier fast 05:00 4h0m0s; " +
		"globex false firing of tier fast 05:00 1h0m0s; acme unlabelled firing of tier medium 20:00 1h0m0s"
	if have := strings.Join(got, "; "); have != want {
		t.Errorf("got  %s\nwant %s", have, want)
	}
}
