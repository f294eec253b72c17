package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

// burn computes the thresholds and, with a history, tries them on it.
func (v *verification) burn(ctx context.Context) error {
	if err := v.compile(ctx); err != nil || v.history == nil {
		return err
	}
	result, err := backtest.Run(ctx, v.objectives, v.history, v.set.past.options)
	if errors.Is(err, backtest.ErrNoHistory) {
		return fmt.Errorf("%s: %w", v.set.past.history, err)
	}
	if err != nil {
		return err
	}
	v.replayed = result
	v.holdRules()
	return v.burnsNow(ctx)
}

// holdRules notes why alerts are held, one finding for each reason with the tenants that have it.
func (v *verification) holdRules() {
	for _, s := range v.replayed.SLOs {
		if s.Reason != "" { // told as a missing metric
			continue
		}
		tenants := map[string][]string{}
		for _, t := range s.Tenants {
			for _, r := range t.Rules {
				for _, reason := range r.Reasons {
					key := r.Tier + "\x00" + reason
					tenants[key] = append(tenants[key], t.Name)
				}
			}
		}
		for _, key := range slices.Sorted(maps.Keys(tenants)) {
			tier, reason, _ := strings.Cut(key, "\x00")
			rule, severity := "SB116", slo.Warning
			switch {
			case strings.HasPrefix(reason, "not enough history"):
				rule, severity = "SB125", slo.Note
			case strings.HasPrefix(reason, "can never fire"):
				rule = "SB114"
			}
			v.find(rule, severity, s.Objective.Source(), "", "%s/%s: tier %s%s %s", s.Service, s.Name, tier, forTenants(tenants[key]), reason)
		}
	}
}

// forTenants names up to three tenants.
func forTenants(names []string) string {
	names = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "" })
	switch n := len(names); {
	case n == 0:
		return ""
	case n == 1:
		return " for tenant " + names[0]
	case n <= 3:
		return " for tenants " + strings.Join(names, ", ")
	default:
		return fmt.Sprintf(" for tenants %s and %d more", strings.Join(names[:2], ", "), n-2)
	}
}

// watch is the slowest tier of all policies: what a budget's pace is judged by, whether or not a tier alerts on it.
func (v *verification) watch() slo.Tier {
	var slowest slo.Tier
	for _, p := range slo.Policies() {
		for _, t := range p.Scale(v.settings.windowScale).Tiers {
			if t.Long > slowest.Long {
				slowest = t
			}
		}
	}
	return slowest
}

// burnsNow tells who was burning faster than the budget allows when the history ended, over both windows of watch.
func (v *verification) burnsNow(ctx context.Context) error {
	watch := v.watch()
	mint, maxt := v.history.Extent()
	if span := time.Duration(maxt-mint) * time.Millisecond; span < watch.Long {
		v.find("SB125", slo.Note, slo.Position{}, "", "the history covers %s: too little to say who burns above %sx over %s",
			report.Round(span), slo.FormatNumber(watch.Factor), slo.FormatWindow(watch.Long))
		return nil
	}
	engine := evaluator.NewEngine(evaluator.EngineOptions{})
	for _, o := range v.objectives {
		long, err := v.burnOver(ctx, engine, o, watch.Long)
		if err != nil {
			return err
		}
		short, err := v.burnOver(ctx, engine, o, watch.Short)
		if err != nil {
			return err
		}
		for _, tenant := range slices.Sorted(maps.Keys(long)) {
			if long[tenant] > watch.Factor && short[tenant] > watch.Factor {
				v.burns(o, tenant, watch, long[tenant])
			}
		}
	}
	return nil
}

// burnOver asks for the burn rate of each tenant at the history's end.
func (v *verification) burnOver(ctx context.Context, engine *evaluator.Engine, o slo.Objective, window time.Duration) (map[string]float64, error) {
	o.Record = append(slices.Clone(o.Record), window)
	groups, err := rulegen.Compile([]slo.Objective{o}, v.ruleOptions())
	if err != nil {
		return nil, err
	}
	byTenant := map[string]float64{}
	for _, r := range groups.Groups[0].Rules {
		if r.Record != rulegen.BurnRateMetric+slo.FormatWindow(window) {
			continue
		}
		_, err := ask(ctx, engine, v.history, r.Expr, v.end(), func(l labels.Labels, value float64) { byTenant[l.Get(o.Tenant.Label)] = value })
		if err != nil {
			return nil, fmt.Errorf("burn rate of %s over %s: %w", o.ID(), slo.FormatWindow(window), err)
		}
	}
	return byTenant, nil
}

// burns notes one tenant; where no tier alerts on so little, it is a finding.
func (v *verification) burns(o slo.Objective, tenant string, watch slo.Tier, rate float64) {
	v.doc.Burns = append(v.doc.Burns, report.Burn{
		Service: o.Service, SLO: o.Name, Tenant: tenant, Window: report.Seconds(watch.Long), Rate: rate, Above: watch.Factor,
	})
	least := slices.MinFunc(o.Policy.Tiers, func(a, b slo.Tier) int { return cmp.Compare(a.Factor, b.Factor) })
	if least.Factor < rate {
		return
	}
	v.find("SB115", slo.Warning, o.Source(), "", "%s burns at %.1fx%s over %s, above a threshold of %sx: the %s budget lasts %s at this rate, and no tier alerts below %sx",
		o.ID(), rate, forTenants([]string{tenant}), slo.FormatWindow(watch.Long), decimal(watch.Factor), slo.FormatWindow(o.Window),
		days(time.Duration(float64(o.Window)/rate)), slo.FormatNumber(least.Factor))
}

// decimal prints a factor with its first decimal, as burn rates are read.
func decimal(f float64) string {
	if text := slo.FormatNumber(f); strings.Contains(text, ".") {
		return text
	}
	return fmt.Sprintf("%.1f", f)
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return report.Round(d)
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

// end is the last moment of the history that is replayed.
func (v *verification) end() time.Time {
	_, maxt := v.history.Extent()
	end := time.UnixMilli(maxt).UTC()
	if chosen := v.set.past.options.End; !chosen.IsZero() && chosen.Before(end) {
		return chosen
	}
	return end
}

func (v *verification) tellBurnRates() (string, map[string]any) {
	detail, figures := tellThresholds(v.workspace)
	figures["replayed_on_history"] = v.replayed != nil
	if v.replayed == nil {
		return detail + "; not replayed: no history was given", figures
	}
	pages, held, alerts := 0, 0, 0
	for _, s := range v.replayed.SLOs {
		pages += s.Score.Pages
		for _, t := range s.Tenants {
			for _, r := range t.Rules {
				alerts++
				if r.Verdict == backtest.Held {
					held++
				}
			}
		}
	}
	known, found := recallOf(v.replayed)
	figures["samples"], figures["pages"], figures["incidents"], figures["incidents_found"] = v.replayed.Samples, pages, known, found
	figures["alerts_validated"], figures["alerts_held"] = alerts-held, held
	detail += fmt.Sprintf("; over %s of history %s", days(v.replayed.End.Sub(v.replayed.Start)), report.Count(pages, "page"))
	if known > 0 {
		detail += fmt.Sprintf(", %d of %s found", found, report.Count(known, "incident"))
	}
	if held > 0 {
		detail += fmt.Sprintf(", %d of %s held", held, report.Count(alerts, "alert"))
	}
	return detail + v.tellBurns(), figures
}

// tellBurns names who burns above the budget's pace, fastest first.
func (v *verification) tellBurns() string {
	all := slices.Clone(v.doc.Burns)
	slices.SortStableFunc(all, func(a, b report.Burn) int { return cmp.Compare(b.Rate, a.Rate) })
	var parts []string
	for _, b := range all {
		parts = append(parts, fmt.Sprintf("%s burns at %.1fx%s, threshold %sx", b.Service, b.Rate, forTenants([]string{b.Tenant}), decimal(b.Above)))
	}
	if len(parts) > 3 {
		parts = append(parts[:3], fmt.Sprintf("and %d more", len(all)-3))
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, ", ")
}
