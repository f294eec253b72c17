package drift

import (
	"cmp"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/slo"
)

// RuleFiles compares rule files of any origin with the contract: slowburn's own, those of Sloth and Pyrra, and what
// people write by hand. The files belong together, so that an alert in one may read what another records.
func RuleFiles(c Contract, fsys fs.FS, files []string) Report {
	set := readRules(fsys, files)
	return set.compare(c, "prometheus", slo.Position{})
}

// comparison holds the rules of one place against the contract. where is named by what is missing.
type comparison struct {
	*ruleset
	against  string
	where    slo.Position
	promises []promise
	services []string
	facts    []Fact
	spoken   map[int]bool // alerts that are about some promise
}

func (s *ruleset) compare(c Contract, against string, where slo.Position) Report {
	held := comparison{ruleset: s, against: against, where: where, promises: promises(c), spoken: map[int]bool{}}
	for _, o := range c.Objectives {
		held.services = append(held.services, o.Service)
	}
	for _, service := range c.Services {
		held.services = append(held.services, service.Name)
	}
	for _, p := range held.promises {
		held.promise(p)
	}
	held.orphans()
	return Report{Facts: held.facts, Findings: append(slices.Clone(s.findings), s.faults()...)}
}

// isOwn reports a rule that slowburn generated.
func (r recording) isOwn() bool {
	if r.labels["service"] == "" || r.labels["slo"] == "" {
		return false
	}
	return strings.HasPrefix(r.record, ownRecordings) || r.alert == ownAlert && r.labels["burn_tier"] != ""
}

func (r recording) belongs(p promise) bool {
	return r.isOwn() && r.labels["service"] == p.Service && r.labels["slo"] == p.Name
}

// fact begins a fact about a promise.
func (c *comparison) fact(p promise, subject, tier string) Fact {
	return Fact{Against: c.against, Subject: subject, Service: p.Service, SLO: p.Name, Tier: tier, Code: p.Source(), There: c.where}
}

// promise compares the recordings, if slowburn's are deployed at all, and every tier; then what else alerts on the
// same events.
func (c *comparison) promise(p promise) {
	deployed := slices.ContainsFunc(c.rules, func(r recording) bool { return r.belongs(p) })
	for _, r := range p.rules {
		if r.record != "" && deployed {
			c.recording(p, r)
		}
	}
	alerts := c.alertsOn(p)
	for _, t := range p.Policy.Tiers {
		c.tier(p, t, alerts)
	}
	for _, a := range alerts {
		if !a.used {
			c.stranger(p, a)
		}
	}
}

func (c *comparison) recording(p promise, want recording) {
	f := c.fact(p, "recording "+want.record, "")
	f.Want = p.recordingWording(want)
	f.Rule, f.Severity, f.Remedy = ruleMissing, slo.Error, "deploy what slowburn generate writes"
	found := false
	for _, have := range c.rules {
		if !have.belongs(p) || have.record != want.record {
			continue
		}
		found = true
		f.There, f.Got, f.Verdict = have.pos, p.recordingWording(have), Same
		f.Rule = ruleDiffers
		if normal(have.expr) != normal(want.expr) {
			f.Verdict = Differs
			if f.Got == f.Want || !strings.HasPrefix(want.record, ownBurnRate) {
				f.Got, f.Want = differing(normal(have.expr), normal(want.expr))
			}
		}
		c.facts = append(c.facts, f)
	}
	if !found {
		f.Verdict = c.absent(&f)
		c.facts = append(c.facts, f)
	}
}

// absent is Missing, unless rules could not be read that may hold what is looked for.
func (c *comparison) absent(f *Fact) Verdict {
	if c.partial {
		f.Rule, f.Severity = ruleUnreadRules, slo.Warning
		f.Got, f.Remedy = "some rules can't be read", "mend what can't be read"
		return Unchecked
	}
	return Missing
}

// recordingWording reads the target out of a burn rate; other recordings are said as they are.
func (p promise) recordingWording(r recording) string {
	if window, ok := strings.CutPrefix(r.record, ownBurnRate); ok {
		raw := terms{recordings: func(*parser.VectorSelector) []recording { return nil }}
		if t := raw.value(r.expr); t.core != nil && !t.core.opaque && t.scale.Sign() != 0 {
			budget := new(big.Rat).Inv(new(big.Rat).Abs(t.scale))
			target := new(big.Rat).Sub(big.NewRat(1, 1), budget)
			return fmt.Sprintf("burn rate over %s of a target of %s%%", window, decimal(target.Mul(target, big.NewRat(100, 1))))
		}
	}
	return clip(normal(r.expr))
}

// alert is one deployed alert as it stands to a promise: its branches that are about it.
type alert struct {
	recording
	own      bool
	branches []branch
	used     bool
}

// branch is one set of conditions that fires an alert.
type branch struct {
	readings []reading
	others   []condition
}

func (c *comparison) alertsOn(p promise) []*alert {
	var all []*alert
	for i, r := range c.rules {
		if r.alert == "" {
			continue
		}
		a := &alert{recording: r, own: r.belongs(p)}
		if same, known := p.labelled(r); known && !same {
			continue
		}
		for _, conditions := range c.termsOf(p).conditions(r.expr) {
			if b := p.branch(conditions); len(b.readings) > 0 {
				a.branches = append(a.branches, b)
			}
		}
		if a.own || len(a.branches) > 0 {
			all = append(all, a)
			c.spoken[i] = true
		}
	}
	return all
}

// termsOf follows recordings, but not those that are labelled as another promise's.
func (c *comparison) termsOf(p promise) terms {
	return terms{recordings: func(s *parser.VectorSelector) []recording {
		var found []recording
		for _, r := range c.byName[s.Name] {
			same, known := p.labelled(r)
			if r.meant(s) && (same || !known) {
				found = append(found, r)
			}
		}
		return found
	}}
}

func (p promise) branch(conditions []condition) (b branch) {
	for _, cond := range conditions {
		if r, ok := p.read(cond); ok {
			b.readings = append(b.readings, r)
		} else {
			b.others = append(b.others, cond)
		}
	}
	return b
}

// tier looks for the tier's own alert, then for one of other origin that means the same, then for one over the same
// windows.
func (c *comparison) tier(p promise, t slo.Tier, alerts []*alert) {
	f := c.fact(p, "alert of the "+t.Name+" tier", t.Name)
	f.Want, f.Rule, f.Severity, f.Remedy = p.tierWording(t), ruleDiffers, slo.Error, "deploy what slowburn generate writes"
	found := false
	for _, a := range alerts {
		if a.own && a.labels["burn_tier"] == t.Name {
			c.facts = append(c.facts, c.ownTier(p, t, f, a))
			a.used, found = true, true
		}
	}
	if found {
		return
	}
	for _, matches := range []func(branch) bool{
		func(b branch) bool { return p.sameWindows(b, t) && p.sameBurn(b, t) },
		func(b branch) bool { return p.sameWindows(b, t) },
	} {
		for _, a := range alerts {
			if i := slices.IndexFunc(a.branches, matches); i >= 0 && !a.own {
				a.used = true
				c.facts = append(c.facts, foreignTier(p, t, f, a, a.branches[i]))
				return
			}
		}
	}
	f.Rule = ruleMissing
	f.Verdict = c.absent(&f)
	c.facts = append(c.facts, f)
}

// ownTier compares a generated alert by its expression, hold and severity.
func (c *comparison) ownTier(p promise, t slo.Tier, f Fact, a *alert) Fact {
	f.There, f.Verdict = a.pos, Same
	f.Got = f.Want
	i := slices.IndexFunc(p.rules, func(r recording) bool { return r.alert != "" && r.labels["burn_tier"] == t.Name })
	sameText := i >= 0 && normal(p.rules[i].expr) == normal(a.expr)
	sameMeaning := len(a.branches) == 1 && p.sameWindows(a.branches[0], t) && p.sameBurn(a.branches[0], t) && p.sameGuard(a.branches[0], t)
	severity := cmp.Or(a.labels["severity"], "none")
	if sameMeaning && (sameText || len(a.branches[0].others) == 0) && a.hold == t.For && severity == t.Severity {
		return f
	}
	f.Verdict = Differs
	f.Got = p.alertWording(a) + ", severity " + severity
	if f.Got == f.Want && i >= 0 {
		f.Got, f.Want = differing(normal(a.expr), normal(p.rules[i].expr))
	}
	return f
}

// foreignTier compares the threshold of an alert of other origin. Its name, labels and hold are its own affair.
func foreignTier(p promise, t slo.Tier, f Fact, a *alert, b branch) Fact {
	f.There = a.pos
	f.Subject = "threshold of the " + t.Name + " tier, alert " + a.alert
	f.Want, f.Got, f.Verdict = p.wording(t.Factor, t.Long, t.Long, t.Short), p.branchWording(b), Same
	f.Remedy = "set the threshold that the contract says, or change the contract"
	if !p.sameBurn(b, t) {
		f.Verdict = Differs
	}
	return f
}

// stranger is an alert on the promise's events that is none of its tiers.
func (c *comparison) stranger(p promise, a *alert) {
	f := c.fact(p, "alert "+a.alert, "")
	f.There, f.Got, f.Rule, f.Severity = a.pos, p.alertWording(a), ruleDiffers, slo.Error
	if a.own {
		f.Verdict, f.Subject, f.Rule, f.Severity = Orphan, "alert of the "+a.labels["burn_tier"]+" tier", ruleOrphan, slo.Warning
		f.Remedy = "remove it: the contract has no such tier"
	} else {
		f.Verdict, f.Want = Differs, p.policyWording()
		f.Remedy = "remove it, or let it compare with what the contract says"
	}
	c.facts = append(c.facts, f)
}

func (p promise) policyWording() string {
	var all []string
	for _, t := range p.Policy.Tiers {
		all = append(all, p.wording(t.Factor, t.Long, t.Long, t.Short))
	}
	return strings.Join(all, " or ")
}

func (p promise) alertWording(a *alert) string {
	var all []string
	for _, b := range a.branches {
		all = append(all, p.branchWording(b))
	}
	text := strings.Join(all, " or ")
	if text == "" {
		text = clip(a.expr.String())
	}
	if a.hold > 0 {
		text += ", for " + slo.FormatWindow(a.hold)
	}
	return text
}

// branchWording says a branch as tiers are said. Two windows under one threshold are said at once.
func (p promise) branchWording(b branch) string {
	var parts []string
	burns := b.burns()
	for i := 0; i < len(burns); i++ {
		windows := []time.Duration{burns[i].window}
		for i+1 < len(burns) && equalNumbers(float(burns[i].burn), float(burns[i+1].burn)) {
			i++
			windows = append(windows, burns[i].window)
		}
		part := p.wording(float(burns[i].burn), slices.Max(windows), windows...)
		if burns[i].apart != "" {
			part += " " + burns[i].apart
		}
		parts = append(parts, part)
	}
	text := strings.Join(parts, " and ")
	for _, r := range b.readings {
		switch {
		case r.events == nil:
		case text == "":
			text = fmt.Sprintf("%s failures in %s, whatever the traffic", decimal(r.events), spans([]time.Duration{r.window}))
		default:
			text += fmt.Sprintf(", %s failures in %s at least", decimal(r.events), slo.FormatWindow(r.window))
		}
	}
	return text
}

// burns are the readings of a burn rate, longest window first.
func (b branch) burns() []reading {
	var all []reading
	for _, r := range b.readings {
		if r.burn != nil {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b reading) int { return cmp.Compare(b.window, a.window) })
	return all
}

func (p promise) sameWindows(b branch, t slo.Tier) bool {
	burns := b.burns()
	return len(burns) == 2 && burns[0].window == t.Long && burns[1].window == t.Short
}

func (p promise) sameBurn(b branch, t slo.Tier) bool {
	return !slices.ContainsFunc(b.burns(), func(r reading) bool {
		return r.apart != "" || !equalNumbers(float(r.burn), t.Factor)
	})
}

// sameGuard compares the failures that a tier asks for at least.
func (p promise) sameGuard(b branch, t slo.Tier) bool {
	guards := 0
	for _, r := range b.readings {
		if r.events != nil {
			guards++
			if r.window != t.Long || !equalNumbers(float(r.events), float64(p.MinFailures)) {
				return false
			}
		}
	}
	return guards == 0 && p.MinFailures <= 0 || guards == 1 && p.MinFailures > 0
}

// orphans are generated rules whose promise is gone, and those of Sloth for a service that is ours.
func (c *comparison) orphans() {
	for i, r := range c.rules {
		if c.spoken[i] || slices.ContainsFunc(c.promises, func(p promise) bool { same, known := p.labelled(r); return same && known }) {
			c.extraRecording(r)
			continue
		}
		service, name := cmp.Or(r.labels["service"], r.labels["sloth_service"]), cmp.Or(r.labels["slo"], r.labels["sloth_slo"])
		sloth := r.labels["sloth_slo"] != "" && slices.Contains(c.services, r.labels["sloth_service"])
		if r.isOwn() || sloth {
			c.facts = append(c.facts, Fact{
				Against: c.against, Subject: kind(r), Service: service, SLO: name, Tier: r.labels["burn_tier"], Verdict: Orphan,
				Got: clip(r.expr.String()), There: r.pos, Rule: ruleOrphan, Severity: slo.Warning,
				Remedy: "remove it, or declare the SLO again in the sources",
			})
		}
	}
}

// extraRecording is one of a promise's own names that its rules no longer have.
func (c *comparison) extraRecording(r recording) {
	for _, p := range c.promises {
		if r.record == "" || !r.belongs(p) || slices.ContainsFunc(p.rules, func(w recording) bool { return w.record == r.record }) {
			continue
		}
		f := c.fact(p, kind(r), "")
		f.Verdict, f.Got, f.There, f.Rule, f.Severity = Orphan, clip(r.expr.String()), r.pos, ruleOrphan, slo.Warning
		f.Remedy = "remove it: no tier of the contract reads it"
		c.facts = append(c.facts, f)
	}
}

func kind(r recording) string {
	if r.alert != "" {
		return "alert " + r.alert
	}
	return "recording " + r.record
}
