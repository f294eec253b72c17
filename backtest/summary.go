package backtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// Sentence says what was found of one objective, for a person who reads nothing else.
func (r *Result) Sentence(s SLO) string {
	head := fmt.Sprintf("%s/%s promises %s over %s", s.Service, s.Name, slo.Target(s.Target), slo.FormatWindow(time.Duration(s.Window)))
	if len(s.Tenants) == 0 {
		return head + ": " + s.Reason + "."
	}
	parts := []string{fmt.Sprintf("%s. Over %s of history%s, these thresholds %s",
		head, s.lengthOf(r), s.ofTenants(), s.paged())}
	parts[0] += s.stray() + "."
	if s.Score.Incidents > 0 {
		parts = append(parts, s.finds())
	}
	return strings.Join(append(parts, s.silence(), s.judged()), " ")
}

// paged is how often, and at what rate.
func (s SLO) paged() string {
	switch n := s.Score.Pages; n {
	case 0:
		return "would never have paged"
	case 1:
		return fmt.Sprintf("would have paged once, %.1f a week", s.Score.PerWeek)
	case 2:
		return fmt.Sprintf("would have paged twice, %.1f a week", s.Score.PerWeek)
	default:
		return fmt.Sprintf("would have paged %d times, %.1f a week", n, s.Score.PerWeek)
	}
}

// silence says below which share of failed events nobody is paged, and for which tenants it takes more, as they have few.
func (s SLO) silence() string {
	lowest := slices.MinFunc(s.Tenants, func(a, b Tenant) int { return cmp.Compare(a.Floor, b.Floor) }).Floor
	if lowest >= 1 {
		return "No share of failed events would ever page."
	}
	few := slices.DeleteFunc(slices.Clone(s.Tenants), func(t Tenant) bool { return t.Floor <= lowest })
	text := fmt.Sprintf("Errors below %s would never page", roughPercent(lowest))
	switch {
	case len(few) == 1 && few[0].Floor >= 1:
		return text + fmt.Sprintf("; tenant %s has too few events to page at all.", few[0].Name)
	case len(few) == 1:
		return text + fmt.Sprintf("; of tenant %s, which has few events, none below %s.", few[0].Name, roughPercent(few[0].Floor))
	case len(few) > 1:
		most := slices.MaxFunc(few, func(a, b Tenant) int { return cmp.Compare(a.Floor, b.Floor) })
		if most.Floor >= 1 {
			return text + fmt.Sprintf("; %d tenants with few events take more, and tenant %s has too few to page at all.", len(few), most.Name)
		}
		return text + fmt.Sprintf("; %d tenants with few events take more, tenant %s %s.", len(few), most.Name, roughPercent(most.Floor))
	}
	return text + "."
}

// roughPercent is a share as a person says it.
func roughPercent(share float64) string { return fmt.Sprintf("%.3g%%", 100*share) }

// lengthOf is how long the history is, and how much of it says anything, where that is less.
func (s SLO) lengthOf(r *Result) string {
	whole, covered := r.End.Sub(r.Start), time.Duration(s.Covered)
	if covered < whole*19/20 {
		return fmt.Sprintf("%s with events in %s", spell(covered), spell(whole))
	}
	return spell(whole)
}

func (s SLO) ofTenants() string {
	if len(s.Tenants) == 1 && s.Tenants[0].Name == "" {
		return ""
	}
	return " of " + plural(len(s.Tenants), "tenant")
}

func (s SLO) stray() string {
	switch {
	case s.Score.False > 0:
		return fmt.Sprintf("; %d of the pages are false", s.Score.False)
	case s.Score.Incidents > 0 && s.Score.Unlabelled > 0:
		return fmt.Sprintf("; %d of the pages lie outside the known incidents", s.Score.Unlabelled)
	}
	return ""
}

func (s SLO) finds() string {
	text := fmt.Sprintf("They found %d of %s", s.Score.Detected+s.Score.Ongoing, plural(s.Score.Incidents, "incident"))
	if s.Score.DelayP50 != nil {
		text += fmt.Sprintf(", half of them within %s and nine in ten within %s", spell(time.Duration(*s.Score.DelayP50)), spell(time.Duration(*s.Score.DelayP90)))
	}
	if s.Score.Spent != nil {
		text += fmt.Sprintf(", with %.2g%% of the budget spent by then", 100**s.Score.Spent)
	}
	if s.Score.Ongoing > 0 {
		text += fmt.Sprintf("; %d of them began while a page was open already", s.Score.Ongoing)
	}
	return text + "."
}

func (s SLO) judged() string {
	rules, held := 0, 0
	first := ""
	for _, t := range s.Tenants {
		for _, r := range t.Rules {
			rules++
			if r.Verdict != Held {
				continue
			}
			if held++; first == "" {
				first = fmt.Sprintf("tier %s%s %s", r.Tier, named(" for tenant ", t.Name), r.Reasons[0])
			}
		}
	}
	if held == 0 {
		return fmt.Sprintf("All %s are validated.", plural(rules, "alert"))
	}
	return fmt.Sprintf("%d of %s are held, the first because %s.", held, plural(rules, "alert"), first)
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// spell prints a duration by the unit that people would use.
func spell(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%.1f days", d.Hours()/24)
}

// Spell prints a span as Sentence does, and a dash for none.
func (s *Span) Spell() string {
	if s == nil {
		return "-"
	}
	return spell(time.Duration(*s))
}
