package backtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/slowburn/slowburn/evaluator"
)

// Comparison sets other rules beside those under test, on the same history and incidents.
type Comparison struct {
	Rules     string     `json:"rules"` // where the other rules are from
	Alerts    int        `json:"alerts"`
	Unplaced  int        `json:"firings_of_no_slo"` // of the other rules: no label says which SLO they are of
	SLOs      []Compared `json:"slos"`
	Incidents []Duel     `json:"incidents,omitempty"`
}

// Compared is one objective under both sets of rules.
type Compared struct {
	Service string `json:"service"`
	SLO     string `json:"slo"`
	New     Score  `json:"new"`
	Old     Score  `json:"old"`
}

// Duel is one incident under both sets of rules. A side without a delay missed it, or was firing already.
type Duel struct {
	Incident
	New Side `json:"new"`
	Old Side `json:"old"`
}

// Side is how one set of rules met an incident.
type Side struct {
	Detected bool   `json:"detected"`
	Ongoing  bool   `json:"ongoing,omitempty"`
	Delay    *Span  `json:"delay_seconds,omitempty"`
	Alert    string `json:"alert,omitempty"`
}

// Labels by which rules of the field say what their alerts are about.
var (
	serviceLabels  = []string{"service", "sloth_service", "job", "app"}
	nameLabels     = []string{"slo", "sloth_slo"}
	severityLabels = []string{"severity", "sloth_severity"}
)

// rival is one firing of either set of rules.
type rival struct {
	Firing
	alert, service, slo, tenant string
}

// Against replays the other rules over the history that r was made of, and sets them beside r. Alerts that only open
// tickets are left out where any pages.
func (r *Result) Against(ctx context.Context, h History, groups *rulefmt.RuleGroups, name, tenantLabel string, o Options) error {
	firings, alerts, err := rivals(ctx, r, h, groups, tenantLabel, o)
	if err != nil {
		return fmt.Errorf("replay %s: %w", name, err)
	}
	c := &Comparison{Rules: name, Alerts: alerts}
	placed := map[int]bool{}
	for k := range r.SLOs {
		one := &r.SLOs[k]
		var own []rival
		for n, f := range firings {
			if one.is(f) {
				own = append(own, f)
				placed[n] = true
			}
		}
		compared, duels := one.against(own, o)
		c.SLOs = append(c.SLOs, compared)
		c.Incidents = append(c.Incidents, duels...)
	}
	c.Unplaced = len(firings) - len(placed)
	r.Comparison = c
	return nil
}

// rivals are the firings of the other rules, sorted by start.
func rivals(ctx context.Context, r *Result, h History, groups *rulefmt.RuleGroups, tenantLabel string, o Options) ([]rival, int, error) {
	ro := evaluator.ReplayOptions{
		Start: r.Start, End: r.End, Interval: o.Interval, PartitionBy: tenantLabel,
		Parallelism: o.Parallelism, Logger: o.Logger, Progress: o.Progress,
	}
	var all []rival
	ro.Sink = func(out *evaluator.Outcome) error {
		for _, rule := range out.Rules {
			for _, e := range rule.Episodes {
				if !e.FiredAt.IsZero() {
					all = append(all, newRival(rule.Alert, e, tenantLabel))
				}
			}
		}
		return nil
	}
	_, err := evaluator.Replay(ctx, groups, h, ro)
	if errors.Is(err, evaluator.ErrPartition) {
		all, ro.PartitionBy = nil, ""
		_, err = evaluator.Replay(ctx, groups, h, ro)
	}
	if err != nil {
		return nil, 0, err
	}
	slices.SortStableFunc(all, func(a, b rival) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.alert, b.alert), cmp.Compare(a.tenant, b.tenant))
	})
	alerts := 0
	for _, g := range groups.Groups {
		for _, rule := range g.Rules {
			if rule.Alert != "" {
				alerts++
			}
		}
	}
	return all, alerts, nil
}

func newRival(alert string, e evaluator.Episode, tenantLabel string) rival {
	if severity := first(e.Labels, severityLabels); severity != "" {
		alert += " (" + severity + ")"
	}
	return rival{
		Firing: Firing{Start: e.FiredAt.UTC(), End: utc(e.ResolvedAt), Peak: e.Peak, incident: none},
		alert:  alert, service: first(e.Labels, serviceLabels), slo: first(e.Labels, nameLabels), tenant: e.Labels.Get(tenantLabel),
	}
}

func first(l labels.Labels, names []string) string {
	for _, name := range names {
		if v := l.Get(name); v != "" {
			return v
		}
	}
	return ""
}

// paging leaves out tickets, where there is anything that pages.
func paging(all []rival) []rival {
	tickets := func(f rival) bool {
		return slices.ContainsFunc([]string{"ticket", "warning", "info", "none"}, func(s string) bool {
			return len(f.alert) > len(s)+3 && f.alert[len(f.alert)-len(s)-2:] == "("+s+")"
		})
	}
	kept := slices.DeleteFunc(slices.Clone(all), tickets)
	if len(kept) == 0 {
		return all
	}
	return kept
}

// is reports whether a firing of the other rules is about the objective, as far as its labels tell.
func (s *SLO) is(f rival) bool {
	return f.service == s.Service && (f.slo == "" || f.slo == s.Name || f.slo == s.Service+"-"+s.Name)
}

// against scores both sets of rules by the objective's incidents, in the same way: by what pages, tenant by tenant, and
// with the same grace after an incident's end. So the same rules on both sides get the same score.
func (s *SLO) against(old []rival, o Options) (Compared, []Duel) {
	fresh, now := s.judge(s.own(), o)
	stale, then := s.judge(old, o)
	var duels []Duel
	for n, i := range s.Incidents {
		if !i.Unknown {
			duels = append(duels, Duel{Incident: i.Incident, New: side(now[n]), Old: side(then[n])})
		}
	}
	return Compared{Service: s.Service, SLO: s.Name, New: fresh, Old: stale}, duels
}

// own are the firings of the rules under test.
func (s *SLO) own() []rival {
	var all []rival
	for _, t := range s.Tenants {
		for k, r := range t.Rules {
			for _, f := range r.Firings {
				all = append(all, rival{
					Firing: Firing{Start: f.Start, End: f.End, Peak: f.Peak, Cold: f.Cold, incident: none},
					alert:  r.Tier + " (" + s.Tiers[k].Severity + ")", service: s.Service, slo: s.Name, tenant: t.Name,
				})
			}
		}
	}
	return all
}

// grace is how long after an incident an alert may still be for it: as long as a short window holds some of it. The
// windows of the other rules are not known.
func (s *SLO) grace() time.Duration {
	grace := 5 * time.Minute
	for _, t := range s.Tiers {
		if t.Severity == "page" {
			grace = max(grace, time.Duration(t.Short))
		}
	}
	return grace
}

// judge scores one set of rules; what it did of each incident is in their order.
func (s *SLO) judge(firings []rival, o Options) (Score, []detection) {
	outside := Unlabelled
	if o.LabelsComplete {
		outside = False
	}
	firings = paging(firings)
	var sum tally
	byTenant := map[string][]Firing{}
	for _, f := range firings {
		byTenant[f.tenant] = append(byTenant[f.tenant], f.Firing)
	}
	for _, tenant := range slices.Sorted(maps.Keys(byTenant)) {
		explain(byTenant[tenant], s.incidentsOf(tenant), s.grace(), outside)
		var one tally
		one.count(byTenant[tenant])
		sum.add(one)
	}
	met := make([]detection, len(s.Incidents))
	for n, i := range s.Incidents {
		if i.Unknown {
			continue
		}
		met[n] = s.met(i.Incident, firings)
		sum.note(met[n])
	}
	sum.spent = nil // the ledgers are gone
	return sum.score(time.Duration(s.Covered), o.LabelsComplete), met
}

// met is how rules met an incident: by an alert for its tenant, or for none in particular.
func (s *SLO) met(i Incident, firings []rival) detection {
	best := detection{}
	nothing := func(_, _ time.Time) float64 { return 0 }
	for _, f := range firings {
		if i.Tenant != "" && f.tenant != "" && f.tenant != i.Tenant {
			continue
		}
		d := detect(i, []Firing{f.Firing}, f.alert, s.grace(), nothing)
		if i.Tenant == "" && s.Objective.Tenant.Label != "" && d.elsewhere(best) || (i.Tenant != "" || s.Objective.Tenant.Label == "") && d.better(best) {
			best = d
		}
	}
	return best
}

func side(d detection) Side {
	s := Side{Detected: d.found, Ongoing: d.ongoing, Alert: d.tier}
	if d.found && !d.ongoing {
		delay := Span(d.delay)
		s.Delay = &delay
	}
	return s
}

func (s *SLO) incidentsOf(tenant string) []numbered {
	var all []numbered
	for n, i := range s.Incidents {
		if !i.Unknown && (i.Tenant == "" || tenant == "" || i.Tenant == tenant) {
			all = append(all, numbered{i.Incident, n})
		}
	}
	return all
}
