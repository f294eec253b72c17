package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

// generatedRules names the rules that the contract becomes, beside rule files.
const generatedRules = "generated"

// prove shows for each alert whether it can fire: by its expression, and by outages put onto the history.
func (v *verification) prove(ctx context.Context) error {
	books := append([]*ruleBook{newRuleBook(generatedRules, v.groups.Groups)}, v.deployed.books...)
	for _, b := range books {
		for _, g := range b.groups {
			for _, r := range g.Rules {
				if r.Alert != "" {
					if err := v.proveAlert(ctx, b, g, r); err != nil {
						return err
					}
				}
			}
		}
	}
	if err := v.available(ctx); err != nil {
		return err
	}
	return v.proveByOutage(ctx)
}

// proveAlert reads one alert's expression.
func (v *verification) proveAlert(ctx context.Context, b *ruleBook, g rulefmt.RuleGroup, r rulefmt.Rule) error {
	proof := report.Proof{
		Service: r.Labels["service"], SLO: r.Labels["slo"], Tier: r.Labels["burn_tier"], Alert: r.Alert, Rules: b.name, Fires: report.Untried,
	}
	o, known := v.objective(proof.Service, proof.SLO)
	at := b.place(g, r)
	if known && b.name == generatedRules {
		at = o.Source()
	}
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
	if err != nil {
		return nil //nolint:nilerr // whoever loaded the rules has said so
	}
	s := static{verification: v, book: b, proof: &proof, at: at, name: alertName(b, g, r)}
	if known {
		s.threshold(o, expr)
	}
	for _, fault := range b.mismatches(expr) {
		s.fault("SB111", "%s", fault)
	}
	if err := s.reads(ctx, expr, 0); err != nil {
		return err
	}
	proof.Source = at
	v.doc.Proofs = append(v.doc.Proofs, proof)
	return nil
}

// place is where a rule stands: in its file, where one is known.
func (b *ruleBook) place(rulefmt.RuleGroup, rulefmt.Rule) slo.Position {
	if b.name == generatedRules {
		return slo.Position{}
	}
	return slo.Position{File: b.name}
}

func alertName(b *ruleBook, g rulefmt.RuleGroup, r rulefmt.Rule) string {
	if tier := r.Labels["burn_tier"]; b.name == generatedRules && tier != "" {
		return g.Name + ": tier " + tier
	}
	return "alert " + r.Alert
}

func (v *verification) objective(service, name string) (slo.Objective, bool) {
	k := slices.IndexFunc(v.objectives, func(o slo.Objective) bool { return o.Service == service && o.Name == name })
	if k < 0 {
		return slo.Objective{}, false
	}
	return v.objectives[k], true
}

// static reads one alert's expression.
type static struct {
	*verification
	book  *ruleBook
	proof *report.Proof
	at    slo.Position
	name  string
	seen  []string // selectors read already
}

func (s *static) fault(rule, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.proof.Fires = report.No
	s.proof.Faults = append(s.proof.Faults, text)
	if s.book.name == generatedRules || rule != "SB112" { // of deployed rules, drift has told it
		s.find(rule, slo.Error, s.at, "", "%s: %s", s.name, text)
	}
}

// threshold compares the factor of an alert on recorded burn rates with what a total outage burns.
func (s *static) threshold(o slo.Objective, expr parser.Expr) {
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		e, ok := n.(*parser.BinaryExpr)
		if !ok || e.Op != parser.GTR && e.Op != parser.GTE {
			return nil
		}
		selector, isSelector := e.LHS.(*parser.VectorSelector)
		bound, isNumber := e.RHS.(*parser.NumberLiteral)
		if !isSelector || !isNumber || !strings.HasPrefix(selector.Name, rulegen.BurnRateMetric) {
			return nil
		}
		if most := o.Target.MaxBurnRate(); bound.Val > most || bound.Val == most && e.Op == parser.GTR {
			s.fault("SB110", "a total outage burns %s times, not above %s", slo.FormatNumber(most), slo.FormatNumber(bound.Val))
		}
		return nil
	})
}

// reads follows every selector of an expression, through recordings, to the series that it comes from.
func (s *static) reads(ctx context.Context, expr parser.Expr, depth int) error {
	if depth > maxShapeDepth {
		return nil
	}
	for _, sel := range selectors(expr) {
		text := sel.String()
		if slices.Contains(s.seen, text) {
			continue
		}
		s.seen = append(s.seen, text)
		meant := s.book.meant(sel)
		for _, r := range meant {
			if err := s.reads(ctx, r.expr, depth+1); err != nil {
				return err
			}
		}
		if len(meant) > 0 {
			continue
		}
		if err := s.raw(ctx, sel); err != nil {
			return err
		}
	}
	return nil
}

func selectors(expr parser.Expr) []*parser.VectorSelector {
	var all []*parser.VectorSelector
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if sel, ok := n.(*parser.VectorSelector); ok {
			all = append(all, sel)
		}
		return nil
	})
	return all
}

// raw looks for a selector that no rule of the book records: in the history, where there is one.
func (s *static) raw(ctx context.Context, sel *parser.VectorSelector) error {
	recorded := strings.Contains(sel.Name, ":")
	if s.history == nil {
		if recorded {
			s.fault("SB112", "reads %s, which no rule records", sel)
		}
		return nil
	}
	there, err := ever(ctx, s.history, sel.LabelMatchers)
	if err != nil {
		return fmt.Errorf("look for %s: %w", sel, err)
	}
	switch {
	case there:
	case recorded:
		s.fault("SB112", "reads %s, which no rule records and the history does not hold", sel)
	case s.failures(sel):
		s.note(sel)
	default:
		s.fault("SB113", "reads %s, of which the history holds no series", sel)
	}
	return nil
}

// failures reports whether a selector is an objective's errors, of which a service that never failed has none.
func (s *static) failures(sel *parser.VectorSelector) bool {
	for _, o := range s.objectives {
		i, ok := o.Indicator.(slo.Availability)
		if !ok || o.Service != s.proof.Service || o.Name != s.proof.SLO {
			continue
		}
		matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(i.Errors)
		if err == nil && i.Errors != i.Total && among(matchers, sel.LabelMatchers) {
			return true
		}
	}
	return false
}

// among reports whether all of some matchers stand among others.
func among(some, all []*labels.Matcher) bool {
	for _, m := range some {
		same := func(n *labels.Matcher) bool { return n.Name == m.Name && n.Type == m.Type && n.Value == m.Value }
		if !slices.ContainsFunc(all, same) {
			return false
		}
	}
	return true
}

func (s *static) note(sel *parser.VectorSelector) {
	text := fmt.Sprintf("%s: the history holds no failed event: nothing matches %s", s.proof.Service+"/"+s.proof.SLO, sel)
	same := func(f slo.Finding) bool { return f.Rule == "SB126" && f.Message == text }
	if !slices.ContainsFunc(s.findings, same) {
		s.find("SB126", slo.Note, s.at, "", "%s", text)
	}
}

// proofRatios are the outages that prove an alert: a total one, and one of ten that a table of detection times has.
func proofRatios() []float64 { return []float64{0.1, 1} }

// proveByOutage puts outages onto the history and notes for which tenants and how fast each alert fired.
func (v *verification) proveByOutage(ctx context.Context) error {
	if v.history == nil {
		return nil
	}
	injected, notes, err := backtest.Inject(ctx, v.objectives, v.history, backtest.Injection{Ratios: proofRatios()}, v.set.past.options)
	if err != nil {
		return err
	}
	for _, note := range notes {
		v.find("SB125", slo.Note, slo.Position{}, "", "no outage was tried: %s", note)
	}
	v.injected = injected
	for k := range v.doc.Proofs {
		if p := &v.doc.Proofs[k]; p.Rules == generatedRules {
			v.settle(p)
		}
	}
	return nil
}

// settle draws one alert's proof from the outages.
func (v *verification) settle(p *report.Proof) {
	fired := map[string]bool{}
	for _, i := range v.injected {
		if i.Service != p.Service || i.SLO != p.SLO {
			continue
		}
		k := slices.IndexFunc(i.Tiers, func(a backtest.InjectedAlert) bool { return a.Tier == p.Tier })
		if k < 0 {
			continue
		}
		one := report.Outage{Tenant: i.Tenant, At: i.At, Ratio: i.Ratio, Fired: i.Tiers[k].Ongoing || i.Tiers[k].Delay != nil}
		if d := i.Tiers[k].Delay; d != nil {
			delay := report.Seconds(*d)
			one.Delay = &delay
		}
		p.Outages = append(p.Outages, one)
		if i.Ratio == 1 {
			fired[i.Tenant] = fired[i.Tenant] || one.Fired
			widen(p, one.Delay)
		}
	}
	v.answer(p, fired)
}

// widen takes a delay into the range of them.
func widen(p *report.Proof, delay *report.Seconds) {
	if delay == nil {
		return
	}
	if p.Fastest == nil || *delay < *p.Fastest {
		p.Fastest = delay
	}
	if p.Slowest == nil || *delay > *p.Slowest {
		p.Slowest = delay
	}
}

// answer says whether the alert fired in a total outage of every tenant.
func (v *verification) answer(p *report.Proof, fired map[string]bool) {
	for _, tenant := range slices.Sorted(maps.Keys(fired)) {
		if !fired[tenant] {
			p.Quiet = append(p.Quiet, cmp.Or(tenant, "all"))
		}
	}
	switch {
	case len(fired) == 0: // the notes say why
	case len(p.Quiet) == 0 && p.Fires == report.Untried:
		p.Fires = report.Yes
	case len(p.Quiet) > 0:
		p.Fires = report.No
		text := fmt.Sprintf("a total outage of %s does not fire it%s", slo.FormatWindow(time.Duration(v.injected[0].For)), forTenants(p.Quiet))
		p.Faults = append(p.Faults, text)
		v.find("SB114", slo.Error, p.Source, "", "%s/%s: tier %s: %s", p.Service, p.SLO, p.Tier, text)
	}
}

func (v *verification) tellProofs() (string, map[string]any) {
	count := map[report.Answer]int{}
	var fastest, slowest *report.Seconds
	for _, p := range v.doc.Proofs {
		count[p.Fires]++
		if p.Fastest != nil && (fastest == nil || *p.Fastest < *fastest) {
			fastest = p.Fastest
		}
		if p.Slowest != nil && (slowest == nil || *p.Slowest > *slowest) {
			slowest = p.Slowest
		}
	}
	figures := map[string]any{"alerts": len(v.doc.Proofs), "fire": count[report.Yes], "do_not_fire": count[report.No], "untried": count[report.Untried], "outages": len(v.injected)}
	detail := fmt.Sprintf("%s read", report.Count(len(v.doc.Proofs), "alert expression"))
	if count[report.No] > 0 {
		detail += fmt.Sprintf(", %d can't fire", count[report.No])
	}
	if len(v.injected) == 0 {
		return detail + "; no outage was put onto a history", figures
	}
	detail += fmt.Sprintf("; %s put onto history fired %d of %s", report.Count(len(v.injected), "outage"), count[report.Yes], report.Count(generated(v.doc.Proofs), "generated alert"))
	if fastest != nil {
		figures["fastest_seconds"], figures["slowest_seconds"] = *fastest, *slowest
		detail += fmt.Sprintf(", a total one in %s to %s", report.Round(time.Duration(*fastest)), report.Round(time.Duration(*slowest)))
	}
	return detail, figures
}

func generated(all []report.Proof) int {
	n := 0
	for _, p := range all {
		if p.Rules == generatedRules {
			n++
		}
	}
	return n
}

// available measures the share of the contracts' selectors that the history holds series of.
func (v *verification) available(ctx context.Context) error {
	if v.history == nil {
		v.metrics = report.Check{Status: report.Skipped, Detail: "no history was given to look for the metrics in"}
		return nil
	}
	there, all := 0, 0
	var missing []string
	for _, sel := range v.contractSelectors() {
		found, err := ever(ctx, v.history, sel.LabelMatchers)
		if err != nil {
			return fmt.Errorf("look for %s: %w", sel, err)
		}
		if all++; found {
			there++
		} else {
			missing = append(missing, sel.String())
		}
	}
	v.metrics = report.Share(there, all, "selectors of the contracts whose series the history holds")
	if len(missing) > 0 {
		v.metrics.Detail += "; not there: " + strings.Join(missing, ", ")
	}
	return nil
}

// contractSelectors are the raw series that the generated rules read, each once.
func (v *verification) contractSelectors() []*parser.VectorSelector {
	book := newRuleBook(generatedRules, v.groups.Groups)
	byText := map[string]*parser.VectorSelector{}
	for _, all := range book.recorded {
		for _, r := range all {
			for _, sel := range selectors(r.expr) {
				if len(book.meant(sel)) == 0 {
					byText[sel.String()] = sel
				}
			}
		}
	}
	var list []*parser.VectorSelector
	for _, text := range slices.Sorted(maps.Keys(byText)) {
		list = append(list, byText[text])
	}
	return list
}
