package slo

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Tier is one pair of windows that alerts together: it fires while the burn rate over Long and over Short
// both exceed Factor.
type Tier struct {
	Name     string // the burn_tier label
	Severity string // page or ticket
	Long     time.Duration
	Short    time.Duration
	Factor   float64 // burn rate
	For      time.Duration
}

// Policy is a table of tiers, fastest first.
type Policy struct {
	Name  string
	Tiers []Tier
}

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// Policies lists the built-in tables: the windows and factors of the SRE workbook, chapter 5, for a 30-day
// period. "default" holds the two tiers that page, "sre" adds the two that open a ticket. "lenient" is for targets from
// 75 % to 93 %, of which a total outage burns too slowly for the others.
func Policies() []Policy {
	fast := Tier{Name: "fast", Severity: "page", Long: hour, Short: 5 * minute, Factor: 14.4}
	medium := Tier{Name: "medium", Severity: "page", Long: 6 * hour, Short: 30 * minute, Factor: 6}
	slow := Tier{Name: "slow", Severity: "ticket", Long: day, Short: 2 * hour, Factor: 3}
	long := Tier{Name: "long", Severity: "ticket", Long: 3 * day, Short: 6 * hour, Factor: 1}
	return []Policy{
		{Name: "default", Tiers: []Tier{fast, medium}},
		{Name: "sre", Tiers: []Tier{fast, medium, slow, long}},
		{Name: "lenient", Tiers: []Tier{fast.at(4), medium.at(2)}},
	}
}

func (t Tier) at(factor float64) Tier {
	t.Factor = factor
	return t
}

// DefaultPolicy is the policy of a contract that names none.
func DefaultPolicy() Policy { return Policies()[0] }

// PolicyNamed finds a built-in policy.
func PolicyNamed(name string) (Policy, error) {
	var names []string
	for _, p := range Policies() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Policy{}, fmt.Errorf("policy %q is unknown: write one of %v", name, names)
}

// Windows lists every window the tiers read, shortest first, once each.
func (p Policy) Windows() []time.Duration {
	var all []time.Duration
	for _, t := range p.Tiers {
		all = append(all, t.Short, t.Long)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Scale multiplies every window and hold by f, for demonstrations and tests that can't wait an hour.
// Factors stay: a burn rate has no unit of time. Windows are rounded to whole seconds, at least one.
func (p Policy) Scale(f float64) Policy {
	scaled := Policy{Name: p.Name, Tiers: slices.Clone(p.Tiers)}
	for i := range scaled.Tiers {
		t := &scaled.Tiers[i]
		t.Long, t.Short, t.For = scale(t.Long, f), scale(t.Short, f), scale(t.For, f)
	}
	return scaled
}

// Scale multiplies the objective's period and all of its windows by f; 1 changes nothing.
func (o Objective) Scale(f float64) Objective {
	if f == 1 {
		return o
	}
	o.Window = scale(o.Window, f)
	o.Policy = o.Policy.Scale(f)
	o.Record = slices.Clone(o.Record)
	for i := range o.Record {
		o.Record[i] = scale(o.Record[i], f)
	}
	if o.Threshold != nil {
		t := *o.Threshold
		t.Within = scale(t.Within, f)
		o.Threshold = &t
	}
	return o
}

func scale(d time.Duration, f float64) time.Duration {
	if d == 0 {
		return 0
	}
	return max(time.Second, time.Duration(float64(d)*f).Round(time.Second))
}

// WithThreshold gives the contract's own threshold to the tier it is about: the one whose long window is the
// threshold's within, else the fastest. A within that no tier has becomes a tier of its own, with a short
// window of a twelfth; one hour, where neither the threshold nor the policy knows better.
func (p Policy) WithThreshold(t Threshold, target Target, window time.Duration) Policy {
	factor := t.BurnRate(target, window)
	tiers := slices.Clone(p.Tiers)
	at := 0
	if t.Within != 0 {
		at = slices.IndexFunc(tiers, func(tier Tier) bool { return tier.Long == t.Within })
	}
	if at >= 0 && at < len(tiers) {
		tiers[at].Factor = factor
		return Policy{Name: p.Name, Tiers: tiers}
	}
	long := cmp.Or(t.Within, hour)
	tiers = append(tiers, Tier{Name: "contract", Severity: "page", Long: long, Short: scale(long, 1./12), Factor: factor})
	slices.SortStableFunc(tiers, func(a, b Tier) int { return cmp.Compare(a.Long, b.Long) })
	return Policy{Name: p.Name, Tiers: tiers}
}

// FormatWindow prints a window as rules name it: whole units, the largest that fits, never weeks (30d, 6h, 90m).
func FormatWindow(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", day}, {"h", hour}, {"m", minute}, {"s", time.Second}, {"ms", time.Millisecond}}
	for _, u := range units {
		if d != 0 && d%u.size == 0 {
			return strconv.FormatInt(int64(d/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// ParseWindow reads a window in Prometheus's spelling: 5m, 1h, 30d, 4w, 1h30m.
func ParseWindow(s string) (time.Duration, error) {
	units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": minute, "h": hour, "d": day, "w": 7 * day, "y": 365 * day}
	var total time.Duration
	last := time.Duration(1<<63 - 1)
	for rest := s; rest != ""; {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		letters := digits
		for letters < len(rest) && rest[letters] >= 'a' && rest[letters] <= 'z' {
			letters++
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		unit, ok := units[rest[digits:letters]]
		if err != nil || !ok || unit >= last {
			return 0, fmt.Errorf("window %q: %w", s, errWindow)
		}
		if n > int64((100*365*day-total)/unit) {
			return 0, fmt.Errorf("window %q is longer than 100 years: %w", s, errWindow)
		}
		total += time.Duration(n) * unit
		last, rest = unit, rest[letters:]
	}
	if total <= 0 {
		return 0, fmt.Errorf("window %q: %w", s, errWindow)
	}
	return total, nil
}
