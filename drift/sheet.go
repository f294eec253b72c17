package drift

import (
	"slices"
	"strings"
	"unicode"

	"github.com/slowburn/slowburn/slo"
)

// sheet collects the facts of one comparison. rules names the finding that a verdict becomes; a verdict that
// is not in it needs nobody's eye.
type sheet struct {
	Report
	contract Contract
	against  string
	rules    map[Verdict]string
}

// put adds a fact about an objective, or about none. A rule that the fact has already stays.
func (s *sheet) put(o *slo.Objective, f Fact) {
	f.Against = s.against
	if o != nil {
		f.Service, f.SLO, f.Code = o.Service, o.Name, o.Source()
	}
	if f.Rule == "" {
		f.Rule = s.rules[f.Verdict]
	}
	f.Severity = severityOf(f.Verdict)
	if f.Rule == ruleDatadogDashboard {
		f.Severity = slo.Warning // a picture is wrong, and nobody is paged by pictures
	}
	s.Facts = append(s.Facts, f)
}

// find adds a finding that is no comparison.
func (s *sheet) find(rule string, severity slo.Severity, at slo.Position, message, remedy string) {
	s.Findings = append(s.Findings, slo.Finding{Rule: rule, Severity: severity, Pos: at, Message: message, Remedy: remedy})
}

func severityOf(v Verdict) slo.Severity {
	switch v {
	case Differs:
		return slo.Error
	case Missing, Orphan, Unchecked:
		return slo.Warning
	}
	return slo.Note
}

// times prints a burn rate.
func times(rate float64) string { return slo.FormatNumber(rate) + "x" }

// pair prints the two windows of a tier.
func pair(t slo.Tier) string { return slo.FormatWindow(t.Long) + "/" + slo.FormatWindow(t.Short) }

// indicatorText says what an objective counts.
func indicatorText(i slo.Indicator) string {
	switch i := i.(type) {
	case slo.Availability:
		return i.Errors + " / " + i.Total
	case slo.Latency:
		return i.Metric + " within " + i.Threshold.String()
	}
	return "no metric"
}

// belonging is what an object of another tool says of whose it is.
type belonging struct {
	services []string // of tags or fields that name a service
	slos     []string // of tags or fields that name an SLO
	name     string   // its own name, for people
	alone    bool     // no other object of its kind names these services
}

// linkedBy says how sure a link is.
type linkedBy string

const (
	byTags    linkedBy = ""
	byName    linkedBy = "its name"
	byService linkedBy = "its service tag alone"
)

// link finds the objective that an object of another tool is about; nil if none or several fit.
func (c Contract) link(id belonging) (*slo.Objective, linkedBy) {
	for _, service := range id.services {
		for _, name := range id.slos {
			if o := c.objective(service, name); o != nil {
				return o, byTags
			}
		}
	}
	if len(id.services) > 0 && len(id.slos) > 0 {
		return nil, byTags // it names an SLO that is not ours
	}
	var named, owned []*slo.Objective
	for i := range c.Objectives {
		o := &c.Objectives[i]
		tagged := slices.Contains(id.services, o.Service)
		if tagged {
			owned = append(owned, o)
		}
		if (tagged || len(id.services) == 0 && mentions(id.name, o.Service)) && (mentions(id.name, o.Name) || slices.Contains(id.slos, o.Name)) {
			named = append(named, o)
		}
	}
	switch {
	case len(named) == 1:
		return named[0], byName
	case len(named) == 0 && len(owned) == 1 && id.alone:
		return owned[0], byService
	}
	return nil, byTags
}

func (c Contract) objective(service, name string) *slo.Objective {
	for i := range c.Objectives {
		if o := &c.Objectives[i]; o.Service == service && o.Name == name {
			return o
		}
	}
	return nil
}

// ours reports whether an object speaks of a service that the contract or Compose knows.
func (c Contract) ours(id belonging) bool {
	known := func(service string) bool {
		return slices.Contains(id.services, service) || len(id.services) == 0 && mentions(id.name, service)
	}
	return slices.ContainsFunc(c.Objectives, func(o slo.Objective) bool { return known(o.Service) }) ||
		slices.ContainsFunc(c.Services, func(s Service) bool { return known(s.Name) })
}

// mentions reports whether the words of part stand in text in one piece, whatever their case and separators.
func mentions(text, part string) bool {
	needle := " " + strings.Join(words(part), " ") + " "
	return needle != "  " && strings.Contains(" "+strings.Join(words(text), " ")+" ", needle)
}

func words(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}
