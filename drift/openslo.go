package drift

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// openSLO is a comparison with OpenSLO v1: its objects by kind and name, since they may refer to each other.
type openSLO struct {
	sheet
	all []*node
}

// shortWindowAnnotation carries what an OpenSLO condition has no field for: a tier's short window.
const shortWindowAnnotation = "slowburn.dev/short-window"

func (s *openSLO) take(n *node) { s.all = append(s.all, n) }

func (s *openSLO) objects(kind string) []*node {
	var some []*node
	for _, n := range s.all {
		if n.get("kind").str() == kind {
			some = append(some, n)
		}
	}
	return some
}

// referred finds what a reference names, or gives the object that stands inline.
func (s *openSLO) referred(kind string, reference, inline *node) *node {
	if reference == nil {
		return inline
	}
	for _, n := range s.objects(kind) {
		if n.get("metadata", "name").str() == reference.str() {
			return n
		}
	}
	return nil
}

func openSLOBelonging(n *node) belonging {
	notes := n.get("metadata", "annotations")
	id := belonging{
		services: append(n.get("spec", "service").strings(), notes.get("slowburn.dev/service").strings()...),
		slos:     notes.get("slowburn.dev/slo").strings(),
		name:     strings.TrimSpace(n.get("metadata", "name").str() + " " + n.get("metadata", "displayName").str()),
	}
	slices.Sort(id.services)
	id.services = slices.Compact(id.services)
	return id
}

func (s *openSLO) compare(sp *spec) {
	o, body := sp.objective, sp.get("spec")
	s.compareObjective(o, sp, body)
	s.compareWindow(o, sp, body)
	if method := body.get("budgetingMethod"); method != nil {
		s.put(o, Fact{Subject: "budgeting method", Verdict: verdictOf(method.str() == "Occurrences"), Want: "Occurrences", Got: method.str(), There: method.pos,
			Remedy: "count events, as the contract does"})
	}
	s.compareIndicator(o, sp, body)
	s.comparePolicies(o, sp, body)
}

func (s *openSLO) compareObjective(o *slo.Objective, sp *spec, body *node) {
	objectives := body.get("objectives").items()
	at := slices.IndexFunc(objectives, func(n *node) bool { return n.get("displayName").str() == o.Name })
	if at < 0 && len(objectives) == 1 {
		at = 0
	}
	if at < 0 {
		s.put(o, Fact{Subject: "target", Verdict: Unchecked, Want: o.Target.String(), Got: fmt.Sprintf("it has %d objectives, none of them called %s", len(objectives), o.Name),
			There: body.get("objectives").at(sp.node), Rule: ruleSpecUnclear})
		return
	}
	if percent := objectives[at].get("targetPercent"); percent != nil {
		s.compareTarget(o, percent, objectives[at], 100)
		return
	}
	s.compareTarget(o, objectives[at].get("target"), objectives[at], 1)
}

func (s *openSLO) compareWindow(o *slo.Objective, sp *spec, body *node) {
	windows := body.get("timeWindow").items()
	f := Fact{Subject: "SLO window", Want: slo.FormatWindow(o.Window), There: body.get("timeWindow").at(sp.node), Remedy: "make both say the same"}
	if len(windows) != 1 {
		f.Verdict, f.Got, f.Rule = Unchecked, fmt.Sprintf("it has %d time windows", len(windows)), ruleSpecUnclear
		s.put(o, f)
		return
	}
	duration, rolling := windows[0].get("duration"), windows[0].get("isRolling")
	f.There = duration.at(windows[0])
	d, ok := openSLODuration(duration.str())
	switch {
	case !rolling.truth():
		f.Verdict, f.Got = Differs, duration.str()+" of the calendar"
	case !ok:
		f.Verdict, f.Got = Differs, duration.str()+", which is no fixed length"
	default:
		f.Verdict, f.Got = verdictOf(d == o.Window), slo.FormatWindow(d)
	}
	s.put(o, f)
}

var openSLODurationForm = regexp.MustCompile(`^([0-9]{1,6})([mhdw])$`)

// openSLODuration reads what has a fixed length; M, Q and Y have none.
func openSLODuration(text string) (time.Duration, bool) {
	m := openSLODurationForm.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(m[1])
	unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[m[2]]
	return time.Duration(n) * unit, err == nil
}

func (s *openSLO) compareIndicator(o *slo.Objective, sp *spec, body *node) {
	indicator := s.referred("SLI", body.get("indicatorRef"), body.get("indicator"))
	f := Fact{Subject: "indicator", Verdict: Unchecked, Want: indicatorText(o.Indicator), There: body.get("indicatorRef").or(body.get("indicator")).at(sp.node)}
	ratio := indicator.get("spec", "ratioMetric")
	switch {
	case indicator == nil:
		f.Got, f.Rule, f.Remedy = "the SLI that it refers to is not there", ruleSpecUnclear, "add the SLI, or write it inline"
		s.put(o, f)
		return
	case ratio == nil:
		f.Got = "it is no ratio of counters"
		s.put(o, f)
		return
	}
	for _, part := range []struct {
		key  string
		role role
	}{{"bad", countsErrors}, {"good", countsGood}, {"total", countsTotal}} {
		source := ratio.get(part.key, "metricSource")
		if source == nil {
			continue
		}
		kind, query := source.get("type").str(), source.get("spec", "query")
		if query == nil || kind != "" && kind != "Prometheus" && kind != "prometheus" {
			s.put(o, Fact{Subject: "query of " + string(part.role), Verdict: Unchecked, Got: "it is no query of Prometheus's but of " + strconv.Quote(kind), There: source.pos})
			continue
		}
		s.compareQuery(o, part.role, query)
	}
	if ratio.get("raw") != nil {
		f.Got = "it is a ready-made ratio"
		s.put(o, f)
	}
}

// openSLOCondition is one burn-rate condition of an SLO's policies.
type openSLOCondition struct {
	*node
	policy *node
	used   bool
}

func (s *openSLO) comparePolicies(o *slo.Objective, sp *spec, body *node) {
	if body.get("alertPolicies") == nil {
		s.put(o, Fact{Subject: "alert policies", Verdict: Unchecked, Got: "the SLO names none", There: sp.pos})
		return
	}
	conditions := s.conditions(o, body.get("alertPolicies").items())
	for _, t := range o.Policy.Tiers {
		s.compareTier(o, t, conditions, body.get("alertPolicies"))
	}
	for _, c := range conditions {
		if !c.used {
			s.put(nil, Fact{Subject: "alert condition", Service: o.Service, SLO: o.Name, Verdict: Orphan, Got: conditionText(c), There: c.pos,
				Remedy: "delete it, or write a policy with this tier"})
		}
	}
}

func conditionText(c *openSLOCondition) string {
	condition := c.get("spec", "condition")
	return condition.get("threshold").str() + "x over " + condition.get("lookbackWindow").str()
}

// conditions follows the references from an SLO to its policies and from them to their conditions.
func (s *openSLO) conditions(o *slo.Objective, policies []*node) []*openSLOCondition {
	var all []*openSLOCondition
	lost := func(what string, at *node) {
		s.put(o, Fact{Subject: what + " " + at.str(), Verdict: Unchecked, Got: "it is referred to and is not there", There: at.pos, Rule: ruleSpecUnclear,
			Remedy: "add it, or write it inline"})
	}
	for _, p := range policies {
		reference := p.get("alertPolicyRef").or(p.get("targetRef"))
		policy := s.referred("AlertPolicy", reference, p)
		if policy == nil {
			lost("alert policy", reference)
			continue
		}
		for _, c := range policy.get("spec", "conditions").items() {
			condition := s.referred("AlertCondition", c.get("conditionRef"), c)
			if condition == nil {
				lost("alert condition", c.get("conditionRef"))
				continue
			}
			all = append(all, &openSLOCondition{node: condition, policy: policy})
		}
	}
	return all
}

func (s *openSLO) compareTier(o *slo.Objective, t slo.Tier, conditions []*openSLOCondition, policies *node) {
	at := slices.IndexFunc(conditions, func(c *openSLOCondition) bool {
		d, ok := openSLODuration(c.get("spec", "condition", "lookbackWindow").str())
		return ok && d == t.Long && !c.used
	})
	if at < 0 {
		s.put(o, Fact{Subject: t.Name + " tier", Tier: t.Name, Verdict: Missing, Want: times(t.Factor) + " over " + pair(t), There: policies.pos,
			Remedy: "add an alert condition with this lookbackWindow"})
		return
	}
	c := conditions[at]
	c.used = true
	condition := c.get("spec", "condition")
	threshold, op := condition.get("threshold"), condition.get("op").str()
	factor, ok := threshold.number()
	s.put(o, Fact{Subject: "threshold of the " + t.Name + " tier", Tier: t.Name, Verdict: verdictOf(ok && equalNumbers(factor, t.Factor) && (op == "gt" || op == "gte")),
		Want: times(t.Factor), Got: op + " " + threshold.str() + "x", There: threshold.at(condition), Remedy: "make both say the same"})
	s.compareShort(o, t, c)
	after, held := openSLODuration(condition.get("alertAfter").str())
	if condition.get("alertAfter") == nil {
		after, held = 0, true
	}
	s.put(o, Fact{Subject: "hold of the " + t.Name + " tier", Tier: t.Name, Verdict: verdictOf(held && after == t.For), Want: t.For.String(),
		Got: condition.get("alertAfter").str(), There: condition.get("alertAfter").at(condition), Remedy: "make both say the same"})
}

// compareShort reads the short window where slowburn wrote it; OpenSLO itself has no place for one.
func (s *openSLO) compareShort(o *slo.Objective, t slo.Tier, c *openSLOCondition) {
	f := Fact{Subject: "short window of the " + t.Name + " tier", Tier: t.Name, Want: slo.FormatWindow(t.Short), There: c.pos, Remedy: "make both say the same"}
	note := c.get("metadata", "annotations", shortWindowAnnotation).or(c.policy.get("metadata", "annotations", shortWindowAnnotation))
	if note == nil {
		f.Verdict, f.Got, f.Remedy = NotRepresentable, "a condition has one window there", "annotate the condition with "+shortWindowAnnotation
		s.put(o, f)
		return
	}
	d, err := slo.ParseWindow(note.str())
	f.Verdict, f.Got, f.There = verdictOf(err == nil && d == t.Short), note.str(), note.pos
	s.put(o, f)
}
