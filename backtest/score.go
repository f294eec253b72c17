package backtest

import (
	"encoding/json"
	"slices"
	"time"
)

// Span is a duration that JSON shows in seconds.
type Span time.Duration //nolint:recvcheck // what only reads takes a value

// MarshalJSON writes seconds.
func (s Span) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

// Score is how alerts did. What can't be said, for want of incidents or of firings, is absent.
type Score struct {
	Firings    int      `json:"firings"`  // each tier and tenant on its own
	Pages      int      `json:"pages"`    // what a person would have got: one for each incident or time
	PerWeek    float64  `json:"per_week"` // pages, for each week that has events
	Unlabelled int      `json:"unlabelled"`
	False      int      `json:"false"`
	Cold       int      `json:"cold"` // of those outside incidents, the ones that rate() made of less history than its window asks for
	Incidents  int      `json:"incidents"`
	Detected   int      `json:"detected"`
	Ongoing    int      `json:"ongoing"` // incidents that began while the alert was firing already
	Missed     int      `json:"missed"`
	DelayP50   *Span    `json:"delay_p50_seconds,omitempty"`
	DelayP90   *Span    `json:"delay_p90_seconds,omitempty"`
	Spent      *float64 `json:"budget_spent_before_page,omitempty"` // median share of the whole budget
	ResetP50   *Span    `json:"reset_p50_seconds,omitempty"`        // from the incident's end to the alert's
}

// tally gathers what a Score is made of.
type tally struct { //nolint:recvcheck // what only reads takes a value
	firings, pages, outside, cold, incidents, ongoing, missed int

	delays, resets []time.Duration
	spent          []float64
}

func (t *tally) add(o tally) {
	t.firings += o.firings
	t.pages += o.pages
	t.outside += o.outside
	t.cold += o.cold
	t.incidents += o.incidents
	t.ongoing += o.ongoing
	t.missed += o.missed
	t.delays = append(t.delays, o.delays...)
	t.resets = append(t.resets, o.resets...)
	t.spent = append(t.spent, o.spent...)
}

// note counts one incident.
func (t *tally) note(d detection) {
	t.incidents++
	switch {
	case !d.found:
		t.missed++
	case d.ongoing:
		t.ongoing++
	default:
		t.delays = append(t.delays, d.delay)
		t.spent = append(t.spent, d.before)
	}
	if d.found && d.ended {
		t.resets = append(t.resets, d.reset)
	}
}

const week = 7 * 24 * time.Hour

// score is over so much time that has events.
func (t tally) score(covered time.Duration, complete bool) Score {
	s := Score{
		Firings: t.firings, Pages: t.pages, Incidents: t.incidents, Detected: len(t.delays), Ongoing: t.ongoing, Missed: t.missed,
		DelayP50: quantile(t.delays, 0.5), DelayP90: quantile(t.delays, 0.9), ResetP50: quantile(t.resets, 0.5),
		PerWeek: perWeek(t.pages, covered), Cold: t.cold,
	}
	if complete {
		s.False = t.outside
	} else {
		s.Unlabelled = t.outside
	}
	if len(t.spent) > 0 {
		slices.Sort(t.spent)
		s.Spent = &t.spent[(len(t.spent)-1)/2]
	}
	return s
}

// perWeek is a rate over what was covered; a history under a week is not stretched to one.
func perWeek(n int, covered time.Duration) float64 {
	if covered <= 0 {
		return 0
	}
	return float64(n) / max(1, float64(covered)/float64(week))
}

// quantile is the nearest rank: a delay that did occur.
func quantile(all []time.Duration, q float64) *Span {
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	rank := max(0, int(float64(len(all))*q+0.999999)-1)
	s := Span(all[rank])
	return &s
}

// detection is how one incident fared with one alert, or with all that page.
type detection struct {
	found, ongoing, ended bool
	delay, reset          time.Duration
	before                float64 // share of the whole budget spent before the page
	tier                  string
}

// better reports whether d finds the incident earlier than o.
func (d detection) better(o detection) bool {
	if d.found != o.found {
		return d.found
	}
	if d.ongoing != o.ongoing {
		return d.ongoing
	}
	return d.delay < o.delay
}

// elsewhere reports whether d, of another tenant, says more of an incident that nobody knows the tenant of: there an
// alert that was firing already says nothing, since it may be for something else.
func (d detection) elsewhere(o detection) bool {
	if d.found && o.found && d.ongoing != o.ongoing {
		return o.ongoing
	}
	return d.better(o)
}

// detect judges an incident by the firings of one rule, sorted by start. A firing counts that begins in the incident,
// or after it while the short window still holds some of it.
func detect(i Incident, firings []Firing, tier string, linger time.Duration, spent func(from, to time.Time) float64) detection {
	d := detection{tier: tier}
	for _, f := range firings {
		if f.Start.After(i.End.Add(linger)) {
			break
		}
		if !f.End.IsZero() && !f.End.After(i.Start) {
			continue
		}
		if !d.found {
			d.found, d.ongoing = true, f.Start.Before(i.Start)
			if !d.ongoing {
				d.delay, d.before = f.Start.Sub(i.Start), spent(i.Start, f.Start)
			}
		}
		if d.ended = !f.End.IsZero(); d.ended { // the last of them counts
			d.reset = max(0, f.End.Sub(i.End))
		}
	}
	return d
}

// none is the incident of a firing that is outside all of them.
const none = -1

// explain finds for each firing the incident that it is for.
func explain(firings []Firing, incidents []numbered, linger time.Duration, outside Kind) {
	for k := range firings {
		f := &firings[k]
		f.Kind, f.incident = outside, none
		for _, i := range incidents {
			if !f.Start.After(i.End.Add(linger)) && (f.End.IsZero() || f.End.After(i.Start)) {
				f.Kind, f.incident = ForIncident, i.number
				break
			}
		}
	}
}

// count adds up what one person gets of the firings of all tiers of one tenant: firings that overlap are one page, and
// so are those of one incident. outside is how many of them are for no incident, and cold how many of these began before
// their window was full.
func (t *tally) count(firings []Firing) {
	t.firings = len(firings)
	slices.SortStableFunc(firings, func(a, b Firing) int { return a.Start.Compare(b.Start) })
	seen := map[int]bool{}
	for k := 0; k < len(firings); {
		end, open := firings[k].End, firings[k].End.IsZero()
		from, explained, fresh := k, false, false
		for ; k < len(firings) && (k == from || open || !firings[k].Start.After(end)); k++ {
			f := firings[k]
			if f.incident != none {
				explained, fresh = true, fresh || !seen[f.incident]
				seen[f.incident] = true
			}
			if open = open || f.End.IsZero(); f.End.After(end) {
				end = f.End
			}
		}
		switch {
		case !explained:
			t.pages++
			t.outside++
			if firings[from].Cold {
				t.cold++
			}
		case fresh:
			t.pages++
		}
	}
}
