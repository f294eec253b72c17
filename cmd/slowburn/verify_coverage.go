package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slowburn/slowburn/drift"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

// cover sets every Compose service beside what it promises and who is told: a row for each tier, or for each tenant where
// tenants fare differently. Services without a contract, and contracts without a Compose service, have theirs too.
func (v *verification) cover() {
	for _, s := range v.topology.Services {
		if !v.covers(s.Known()) {
			v.doc.Coverage = append(v.doc.Coverage, report.Coverage{Service: s.Known(), State: report.NoSLO})
		}
	}
	for _, o := range v.objectives {
		for _, t := range o.Policy.Tiers {
			v.doc.Coverage = append(v.doc.Coverage, v.rows(o, t)...)
		}
	}
	slices.SortStableFunc(v.doc.Coverage, func(a, b report.Coverage) int { return strings.Compare(a.Service, b.Service) })
}

// rows is one tier's: one row, unless its tenants take different routes.
func (v *verification) rows(o slo.Objective, t slo.Tier) []report.Coverage {
	row := report.Coverage{Service: o.Service, SLO: o.Name, Tier: t.Name, Severity: t.Severity, Alert: rulegen.AlertName, State: report.NoRoute}
	if !v.generates(o, t) {
		row.Alert, row.State = "", report.NoAlert
		return []report.Coverage{row}
	}
	var rows []report.Coverage
	var tenants [][]string // of each row
	for _, r := range v.routes {
		if r.Service != o.Service || r.SLO != o.Name || r.Tier != t.Name {
			continue
		}
		one := taken(row, r)
		k := slices.IndexFunc(rows, func(c report.Coverage) bool {
			return c.State == one.State && c.Route == one.Route && slices.Equal(c.Receivers, one.Receivers)
		})
		if k < 0 {
			rows, tenants, k = append(rows, one), append(tenants, nil), len(rows)
		}
		if r.Tenant != "" {
			tenants[k] = append(tenants[k], r.Tenant)
		}
	}
	if len(rows) == 0 {
		return []report.Coverage{row}
	}
	if len(rows) > 1 {
		for k := range rows {
			rows[k].Tenant = strings.Join(tenants[k], ", ")
		}
	}
	return rows
}

// taken is a row whose route is known.
func taken(row report.Coverage, r drift.Route) report.Coverage {
	row.Receivers, row.State, row.Route = r.Receivers, report.Reaches, r.File
	if r.Line > 0 {
		row.Route = fmt.Sprintf("%s:%d", r.File, r.Line)
	}
	if !r.Paged {
		row.State = report.NoReceiver
	}
	return row
}

// generates reports whether the rules hold the tier's alert.
func (v *verification) generates(o slo.Objective, t slo.Tier) bool {
	for _, g := range v.groups.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" && g.Name == o.ID() && r.Labels["burn_tier"] == t.Name {
				return true
			}
		}
	}
	return false
}

// coverageCheck is the share of the promised alerts that reach a receiver. Services that promise nothing are not in it:
// the detail counts them, and each is a finding.
func (v *verification) coverageCheck() report.Check {
	reach, promised, silent := 0, 0, []string{}
	for _, c := range v.doc.Coverage {
		switch c.State {
		case report.NoSLO:
			silent = append(silent, c.Service)
			continue
		case report.Reaches:
			reach++
		}
		promised++
	}
	detail := "alerts of the contracts, by service, SLO and tier, that reach a receiver"
	if len(silent) > 0 {
		detail += "; no SLO: " + strings.Join(silent, ", ")
	}
	if len(v.routes) == 0 {
		return report.Check{Status: report.Skipped, Detail: fmt.Sprintf("%s: no Alertmanager configuration was found to follow them in", report.Count(promised, "alert"))}
	}
	return report.Share(reach, promised, detail)
}
