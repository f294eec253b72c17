package backtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Found is how one incident fared.
type Found struct {
	Incident
	Unknown  bool     `json:"unknown,omitempty"` // the history says nothing of its tenant then: it counts for nothing
	Detected bool     `json:"detected"`
	Ongoing  bool     `json:"ongoing,omitempty"` // it began while an alert was firing already
	Tier     string   `json:"tier,omitempty"`    // that found it first
	Delay    *Span    `json:"delay_seconds,omitempty"`
	Before   *float64 `json:"budget_spent_before_page,omitempty"`
	Reset    *Span    `json:"reset_seconds,omitempty"`
	Spent    float64  `json:"budget_spent"` // in the whole incident, as a share of the whole budget
}

func (s *subject) foundIncidents() []Found {
	var all []Found
	for _, i := range s.incidents {
		d, seen := s.found[i.number]
		if !seen {
			s.trial.note("%s: the history of %s knows %s at that time; the incident counts for nothing", i.Place, s.ID(), whom(i.Tenant))
		}
		if i.Tenant == "" && s.Tenant.Label != "" && seen {
			s.overall.note(d)
		}
		f := Found{Incident: i.Incident, Unknown: !seen, Detected: d.found, Ongoing: d.ongoing, Spent: s.spent[i.number]}
		if d.found {
			f.Tier = d.tier
			if !d.ongoing {
				delay, before := Span(d.delay), d.before
				f.Delay, f.Before = &delay, &before
			}
			if d.ended {
				reset := Span(d.reset)
				f.Reset = &reset
			}
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b Found) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Tenant, b.Tenant))
	})
	return all
}

func whom(tenant string) string {
	if tenant == "" {
		return "no events"
	}
	return fmt.Sprintf("no tenant %q", tenant)
}

// blameVictims holds a rule for each incident without a tenant that none found, though it cost some tenant much.
func (s *subject) blameVictims() {
	for _, i := range s.incidents {
		v, seen := s.victims[i.number]
		if !seen || !v.material || s.found[i.number].found {
			continue
		}
		at := slices.IndexFunc(s.tenants, func(t Tenant) bool { return t.Name == v.name })
		s.blame(&s.tenants[at], []numbered{i})
	}
}

// tellUnjudged notes tenants of which nothing can be said, and holds all rules where none can see a failure.
func (s *subject) tellUnjudged() {
	if len(s.sparse) > 0 && len(s.tenants) > 0 {
		s.trial.note("%s: samples stand too far apart for its shortest window, so that nothing is said of %s", s.ID(), strings.Join(s.sparse[:min(len(s.sparse), 12)], ", "))
	}
	if len(s.strays) == 0 {
		return
	}
	names := make([]string, len(s.strays))
	for k, name := range s.strays {
		names[k] = fmt.Sprintf("%q", name)
	}
	s.trial.note("%s: failed events and no events at all are counted for %s %s", s.ID(), cmp.Or(s.Tenant.Label, "tenant"), strings.Join(names, ", "))
	if slices.ContainsFunc(s.tenants, func(t Tenant) bool { return t.Errors > 0 }) {
		return
	}
	for k := range s.tenants {
		for n := range s.tenants[k].Rules {
			r := &s.tenants[k].Rules[n]
			r.Verdict = Held
			r.Reasons = append(r.Reasons, fmt.Sprintf("can never fire: failed events are counted for %s %s, and all events are not", s.Tenant.Label, names[0]))
		}
	}
}
