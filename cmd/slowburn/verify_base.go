package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/drift"
	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/slo"
)

// revision is one state of the sources with its rule files, and what its alerts did over the history.
type revision struct {
	*workspace
	deployed  deployment
	replayed  *backtest.Result
	calls     []report.Page // every firing that pages
	pages     []report.Page // those that overlap taken together
	incidents []backtest.Incident
	cost      report.Cost
	series    *report.Cardinality
}

// compareRevision sets the tree beside a git revision of it.
func (v *verification) compareRevision(ctx context.Context) error {
	commit, err := commitOf(ctx, v.dir, v.set.base)
	if err != nil {
		return err
	}
	old, err := v.checkOut(ctx, commit)
	if err != nil {
		return err
	}
	now := &revision{workspace: v.workspace, deployed: v.deployed, replayed: v.replayed}
	r := &report.Revision{Base: v.set.base, Commit: commit, Contract: contractDiff(old.objectives, v.objectives)}
	v.doc.Revision = r
	if v.history == nil {
		r.Notes = append(r.Notes, "no history was given: pages and incidents are not compared")
	} else {
		for _, one := range []*revision{old, now} {
			if err := v.replay(ctx, one); err != nil {
				return err
			}
		}
		v.setBeside(r, old, now)
	}
	r.Before, r.After = standing(old), standing(now)
	v.judgePages(r)
	return nil
}

// checkOut reads contract and rule files of a commit, in a directory of its own that is gone when it returns.
func (v *verification) checkOut(ctx context.Context, commit string) (_ *revision, err error) {
	dir, err := os.MkdirTemp("", "slowburn-base-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := readRevision(ctx, v.dir, commit, dir); err != nil {
		return nil, err
	}
	settings := *v.set.read
	settings.docker = "" // what runs now says nothing of then
	old := &revision{workspace: &workspace{dir: dir, settings: settings, catalog: v.catalog}}
	for _, step := range []func(context.Context) error{old.readTopology, old.readContract, old.compile} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", v.set.base, err)
		}
	}
	if n := report.AtOrAbove(old.findings, slo.Error); n > 0 {
		v.find("SB124", slo.Warning, slo.Position{}, "", "the contract of %s has %s, the first: %s", v.set.base, report.Count(n, "error"), firstError(old.findings))
	}
	then := &verification{workspace: old.workspace, set: v.set}
	if then.deployed, err = findDeployed(dir, v.set); err != nil {
		return nil, fmt.Errorf("%s: %w", v.set.base, err)
	}
	for _, read := range []func(context.Context, drift.Contract) (drift.Report, error){then.comparePrometheus, then.compareRules} {
		if _, err := read(ctx, then.contractSide()); err != nil {
			return nil, fmt.Errorf("%s: %w", v.set.base, err)
		}
	}
	old.deployed = then.deployed
	return old, nil
}

func firstError(all []slo.Finding) string {
	for _, f := range all {
		if f.Severity == slo.Error {
			return f.String()
		}
	}
	return ""
}

// replay learns what a revision's alerts did: those of its contract, and those of its rule files.
func (v *verification) replay(ctx context.Context, r *revision) (err error) {
	if r.replayed == nil {
		if r.replayed, err = backtest.Run(ctx, r.objectives, v.history, v.set.past.options); err != nil {
			return err
		}
	}
	for _, s := range r.replayed.SLOs {
		for _, i := range s.Incidents {
			one := i.Incident
			one.SLO = s.Name
			r.incidents = append(r.incidents, one)
		}
		r.calls = append(r.calls, callsOf(s)...)
	}
	if groups, _ := r.deployed.alerts(); groups != nil {
		if err := v.replayFiles(ctx, r, groups); err != nil {
			return err
		}
	}
	slices.SortStableFunc(r.calls, func(a, b report.Page) int { return a.Start.Compare(b.Start) })
	r.pages = together(r.calls)
	r.series = forecastOf(r.workspace, v.present, v.set.maxSeries)
	r.cost, _ = v.cost(ctx, r.groups.Groups)
	return nil
}

// callsOf lists the firings of the tiers that page.
func callsOf(s backtest.SLO) []report.Page {
	var all []report.Page
	for _, t := range s.Tenants {
		for k, rule := range t.Rules {
			if s.Tiers[k].Severity != "page" {
				continue
			}
			for _, f := range rule.Firings {
				all = append(all, report.Page{Service: s.Service, SLO: s.Name, Tenant: t.Name, Alert: rule.Tier, Start: f.Start, End: f.End})
			}
		}
	}
	return all
}

func (v *verification) replayFiles(ctx context.Context, r *revision, groups *rulefmt.RuleGroups) error {
	tenant := tenantLabelOf(r.objectives)
	done, err := evaluator.Replay(ctx, groups, v.history, evaluator.ReplayOptions{
		Start: r.replayed.Start, End: r.replayed.End, Interval: v.set.past.options.Interval, Logger: v.set.past.options.Logger,
	})
	if err != nil {
		return fmt.Errorf("rule files: %w", err)
	}
	for _, out := range done.Outcomes {
		for _, rule := range out.Rules {
			for _, e := range rule.Episodes {
				if e.FiredAt.IsZero() || slices.Contains([]string{"ticket", "warning", "info", "none"}, e.Labels.Get("severity")) {
					continue
				}
				page := report.Page{
					Service: cmp.Or(e.Labels.Get("service"), e.Labels.Get("job")), SLO: e.Labels.Get("slo"), Tenant: e.Labels.Get(tenant),
					Alert: rule.Alert, Start: e.FiredAt.UTC(),
				}
				if !e.ResolvedAt.IsZero() {
					page.End = e.ResolvedAt.UTC()
				}
				r.calls = append(r.calls, page)
			}
		}
	}
	return nil
}

// together makes one page of calls, sorted by start, that overlap and are about the same tenant of the same SLO.
func together(calls []report.Page) []report.Page {
	var pages []report.Page
	last := map[string]int{}
	for _, c := range calls {
		key := c.Service + "\x00" + c.SLO + "\x00" + c.Tenant
		if k, ok := last[key]; ok && overlap(pages[k], c) {
			if pages[k].End.IsZero() || c.End.IsZero() {
				pages[k].End = time.Time{}
			} else if c.End.After(pages[k].End) {
				pages[k].End = c.End
			}
			continue
		}
		last[key] = len(pages)
		pages = append(pages, c)
	}
	return pages
}

func overlap(a, b report.Page) bool {
	return (a.End.IsZero() || !b.Start.After(a.End)) && (b.End.IsZero() || !a.Start.After(b.End))
}

// about reports whether two pages may be about the same thing: what one of them does not say is no difference.
func about(a, b report.Page) bool {
	same := func(x, y string) bool { return x == y || x == "" || y == "" }
	return same(a.Service, b.Service) && same(a.SLO, b.SLO) && same(a.Tenant, b.Tenant)
}

// setBeside lists what differs.
func (v *verification) setBeside(r *report.Revision, old, now *revision) {
	r.PagesGained, r.PagesLost = beyond(now.pages, old.pages), beyond(old.pages, now.pages)
	seen := map[string]bool{}
	for _, i := range slices.Concat(now.incidents, old.incidents) {
		if key := i.Service + "\x00" + i.SLO + "\x00" + i.Tenant + "\x00" + i.Start.String(); !seen[key] {
			seen[key] = true
			duel := report.Duel{Service: i.Service, SLO: i.SLO, Tenant: i.Tenant, Start: i.Start, End: i.End, Old: old.meets(i), New: now.meets(i)}
			switch {
			case duel.New.Found && !duel.Old.Found:
				r.IncidentsGained = append(r.IncidentsGained, duel)
			case duel.Old.Found && !duel.New.Found:
				r.IncidentsLost = append(r.IncidentsLost, duel)
			case duel.Old.Delay != nil && duel.New.Delay != nil && *duel.Old.Delay != *duel.New.Delay:
				r.Detection = append(r.Detection, duel)
			}
		}
	}
}

// beyond are the pages that have no counterpart among others.
func beyond(pages, others []report.Page) []report.Page {
	var all []report.Page
	for _, p := range pages {
		if !slices.ContainsFunc(others, func(o report.Page) bool { return about(p, o) && overlap(p, o) }) {
			all = append(all, p)
		}
	}
	return all
}

// lingering is how long after an incident a page is still for it: windows hold it for a while.
const lingering = 5 * time.Minute

// meets is how the alerts met an incident: by the first call in it.
func (r *revision) meets(i backtest.Incident) report.Side {
	side := report.Side{}
	for _, c := range r.calls {
		ended := !c.End.IsZero() && !c.End.After(i.Start)
		if ended || c.Start.After(i.End.Add(lingering)) || !about(c, report.Page{Service: i.Service, SLO: i.SLO, Tenant: i.Tenant}) {
			continue
		}
		if c.Start.Before(i.Start) {
			return report.Side{Found: true, Alert: c.Alert}
		}
		if !side.Found {
			delay := report.Seconds(c.Start.Sub(i.Start))
			side = report.Side{Found: true, Delay: &delay, Alert: c.Alert}
		}
	}
	return side
}

func standing(r *revision) report.Standing {
	s := report.Standing{SLOs: len(r.objectives), Alerts: alertsIn(r.groups.Groups), Pages: len(r.pages), Incidents: len(r.incidents), Samples: r.cost.Samples}
	for _, b := range r.deployed.books {
		s.Alerts += alertsIn(b.groups)
	}
	if r.series != nil {
		s.Series = r.series.Total
	}
	var delays []report.Seconds
	for _, i := range r.incidents {
		if side := r.meets(i); side.Found {
			s.Found++
			if side.Delay != nil {
				delays = append(delays, *side.Delay)
			}
		}
	}
	if s.Incidents > 0 {
		recall := float64(s.Found) / float64(s.Incidents)
		s.Recall = &recall
	}
	s.Delay = median(delays)
	return s
}

func alertsIn(groups []rulefmt.RuleGroup) int {
	n := 0
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				n++
			}
		}
	}
	return n
}

// judgePages holds the pages gained to --max-new-pages.
func (v *verification) judgePages(r *report.Revision) {
	if n := len(r.PagesGained); v.set.maxNewPages != none && n > v.set.maxNewPages {
		first := r.PagesGained[0]
		v.find("SB120", slo.Error, slo.Position{}, "", "%s more than at %s, above --max-new-pages %d: the first %s/%s%s at %s",
			report.Count(n, "page"), r.Base, v.set.maxNewPages, first.Service, first.SLO, forTenants([]string{first.Tenant}), first.Start.Format(time.RFC3339))
	}
}

// contractDiff says in words what two contracts promise differently.
func contractDiff(old, now []slo.Objective) []string {
	byID := func(all []slo.Objective, id string) (slo.Objective, bool) {
		k := slices.IndexFunc(all, func(o slo.Objective) bool { return o.ID() == id })
		if k < 0 {
			return slo.Objective{}, false
		}
		return all[k], true
	}
	var all []string
	for _, o := range now {
		was, ok := byID(old, o.ID())
		if !ok {
			all = append(all, fmt.Sprintf("%s is new: %s over %s", o.ID(), o.Target, slo.FormatWindow(o.Window)))
			continue
		}
		for _, d := range objectiveDiff(was, o) {
			all = append(all, o.ID()+": "+d)
		}
	}
	for _, o := range old {
		if _, ok := byID(now, o.ID()); !ok {
			all = append(all, o.ID()+" is gone")
		}
	}
	return all
}

func objectiveDiff(was, is slo.Objective) []string {
	var all []string
	differ := func(what, a, b string) {
		if a != b {
			all = append(all, fmt.Sprintf("%s %s, was %s", what, b, a))
		}
	}
	differ("target", was.Target.String(), is.Target.String())
	differ("window", slo.FormatWindow(was.Window), slo.FormatWindow(is.Window))
	differ("events", fmt.Sprintf("%+v", was.Indicator), fmt.Sprintf("%+v", is.Indicator))
	differ("tenants", tenantText(was.Tenant), tenantText(is.Tenant))
	differ("minFailures", fmt.Sprint(was.MinFailures), fmt.Sprint(is.MinFailures))
	differ("tiers", tiersText(was.Policy), tiersText(is.Policy))
	return all
}

func tenantText(t slo.Tenant) string {
	return cmp.Or(strings.TrimSpace(t.Label+" "+t.Static), "none")
}

func tiersText(p slo.Policy) string {
	var all []string
	for _, t := range p.Tiers {
		all = append(all, fmt.Sprintf("%s %sx %s/%s %s", t.Name, slo.FormatNumber(t.Factor), slo.FormatWindow(t.Long), slo.FormatWindow(t.Short), t.Severity))
	}
	return strings.Join(all, ", ")
}

func (v *verification) tellRevision() (string, map[string]any) {
	r := v.doc.Revision
	detail := fmt.Sprintf("beside %s (%.12s): %s in the contract", r.Base, r.Commit, report.Count(len(r.Contract), "change"))
	figures := map[string]any{"contract_changes": len(r.Contract)}
	if v.history == nil {
		return detail + "; no history was given to compare pages on", figures
	}
	figures["pages_gained"], figures["pages_lost"] = len(r.PagesGained), len(r.PagesLost)
	figures["incidents_gained"], figures["incidents_lost"] = len(r.IncidentsGained), len(r.IncidentsLost)
	return detail + fmt.Sprintf("; pages +%d -%d, incidents found +%d -%d, series %+d, samples a tick %+d", len(r.PagesGained), len(r.PagesLost),
		len(r.IncidentsGained), len(r.IncidentsLost), r.After.Series-r.Before.Series, r.After.Samples-r.Before.Samples), figures
}
