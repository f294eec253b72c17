package drift

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/alertmanager/inhibit"
	"github.com/prometheus/common/model"

	"github.com/slowburn/slowburn/slo"
)

// silences reports whether a rule keeps target back while source fires, as Alertmanager's Inhibitor decides it.
func silences(r *inhibit.InhibitRule, source, target model.LabelSet) bool {
	if !r.TargetMatchers.Matches(target) || !r.SourceMatchers.Matches(source) {
		return false
	}
	if r.SourceMatchers.Matches(target) && r.TargetMatchers.Matches(source) {
		return false
	}
	for name := range r.Equal {
		if source[name] != target[name] {
			return false
		}
	}
	return true
}

// silencer finds the rule by which source keeps target back; -1 is none.
func (a *alertmanager) silencer(source, target model.LabelSet) int {
	return slices.IndexFunc(a.rules, func(r *inhibit.InhibitRule) bool { return silences(r, source, target) })
}

// silencers lists what keeps a tier's alert back: tiers of the same SLO and tenant, and alerts of others by the
// matchers of their rule.
func (a *alertmanager) silencers(o slo.Objective, t slo.Tier, tenant string) []string {
	target := labelSet(o, t, tenant)
	var all []string
	for _, source := range o.Policy.Tiers {
		if source.Name != t.Name && a.silencer(labelSet(o, source, tenant), target) >= 0 {
			all = append(all, source.Name)
		}
	}
	for _, r := range a.rules {
		ours := slices.ContainsFunc(o.Policy.Tiers, func(s slo.Tier) bool { return r.SourceMatchers.Matches(labelSet(o, s, tenant)) })
		if r.TargetMatchers.Matches(target) && !ours {
			all = append(all, matcherText(r.SourceMatchers))
		}
	}
	return all
}

// inhibitions compares what the inhibit rules do to one objective with what they are for: of one incident, the
// fastest tier alone is heard, and nothing else silences a page.
func (a *alertmanager) inhibitions(o slo.Objective) {
	tenant := o.Tenant.Static
	if tenant == "" {
		tenant = anyTenant
	}
	for i, t := range o.Policy.Tiers {
		f := Fact{
			Against: "alertmanager", Subject: "inhibition of the " + t.Name + " tier", Service: o.Service, SLO: o.Name, Tier: t.Name, Verdict: Same,
			Want: "kept still while a faster tier fires, and by nothing slower or of others", Code: o.Source(), There: slo.Position{File: a.doc.file},
		}
		f.Got = f.Want
		target := labelSet(o, t, tenant)
		if slower, by := a.slower(o, i, tenant, target); by >= 0 {
			f.Verdict, f.Rule, f.Got = Differs, ruleInhibited, "silenced by the slower tier "+slower
			f.There, f.Remedy = a.doc.position(a.ruleNode[by]), "let faster tiers silence slower ones alone"
		} else if who, by := a.outsider(o, tenant, target); by >= 0 {
			f.Verdict, f.Rule, f.Got = Differs, ruleInhibited, "silenced by "+who
			f.There, f.Remedy = a.doc.position(a.ruleNode[by]), "add the missing labels to equal: "+strings.Join(equalLabels(o), ", ")
		} else if i > 0 && !a.faster(o, i, tenant, target) {
			f.Verdict, f.Rule, f.Severity = Missing, ruleUninhibited, slo.Warning
			f.Remedy = "add what slowburn generate --format inhibit writes"
			f.There = a.doc.position(find(a.doc.trees[0], "inhibit_rules").key)
		}
		a.Facts = append(a.Facts, f)
	}
}

func equalLabels(o slo.Objective) []string {
	all := []string{"service", "slo"}
	if o.Tenant.Label != "" {
		all = append(all, o.Tenant.Label)
	}
	return all
}

// slower finds a slower tier that silences the i-th.
func (a *alertmanager) slower(o slo.Objective, i int, tenant string, target model.LabelSet) (string, int) {
	for _, s := range o.Policy.Tiers[i+1:] {
		if by := a.silencer(labelSet(o, s, tenant), target); by >= 0 {
			return s.Name, by
		}
	}
	return "", -1
}

// faster reports whether every faster tier silences the i-th.
func (a *alertmanager) faster(o slo.Objective, i int, tenant string, target model.LabelSet) bool {
	return !slices.ContainsFunc(o.Policy.Tiers[:i], func(s slo.Tier) bool { return a.silencer(labelSet(o, s, tenant), target) < 0 })
}

// outsider finds an alert of another tenant, SLO or service that silences this one, which is another incident.
func (a *alertmanager) outsider(o slo.Objective, tenant string, target model.LabelSet) (string, int) {
	for _, s := range o.Policy.Tiers {
		for _, label := range equalLabels(o) {
			source := labelSet(o, s, tenant)
			source[model.LabelName(label)] = "other-" + source[model.LabelName(label)]
			if by := a.silencer(source, target); by >= 0 {
				return fmt.Sprintf("the %s tier of another %s", s.Name, label), by
			}
		}
	}
	return "", -1
}
