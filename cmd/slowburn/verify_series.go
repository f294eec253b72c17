package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

// perAlert is how many series an alert that is pending or firing writes: ALERTS and ALERTS_FOR_STATE.
const perAlert = 2

// listed bounds the lists of largest things.
const listed = 10

// forecast counts the series that there are, adds those that the rules will write, and says what they cost.
func (v *verification) forecast(ctx context.Context) error {
	if v.present == nil {
		return errSkip("no history was given to take label sets from")
	}
	c := forecastOf(v.workspace, v.present, v.set.maxSeries)
	v.doc.Cardinality = c
	c.Savings = v.savings()
	cost, faults := v.cost(ctx, v.groups.Groups)
	c.Cost = cost
	for _, f := range faults {
		v.find("SB118", slo.Error, f.at, "", "%s", f.text)
	}
	if c.Total > c.Limit {
		v.find("SB117", slo.Error, slo.Position{}, v.dearest(), "%d series are forecast, above --max-series %d: %d scraped, %d recorded, %d of alerts",
			c.Total, c.Limit, c.Scraped, c.Recorded, c.Alerts)
	}
	return nil
}

func (v *verification) dearest() string {
	if c := v.doc.Cardinality; len(c.Savings) > 0 {
		return fmt.Sprintf("drop %s, which saves %d: %s", c.Savings[0].Drop, c.Savings[0].Series, c.Savings[0].Why)
	}
	return ""
}

// forecastOf counts for the objectives of a workspace.
func forecastOf(w *workspace, present *inventory, limit int) *report.Cardinality {
	c := &report.Cardinality{At: present.at, Limit: limit, Scraped: len(present.all)}
	tenants := map[string]*report.TenantSeries{}
	counted := map[string]bool{} // series that two objectives read count once for a tenant
	for _, o := range w.objectives {
		one := seriesOf(o, w.groups.Groups, present, func(tenant string, l labels.Labels, written int) {
			t := tenants[tenant]
			if t == nil {
				t = &report.TenantSeries{Tenant: tenant}
				tenants[tenant] = t
			}
			t.Written += written
			if key := l.String(); !l.IsEmpty() && !counted[key] {
				counted[key] = true
				t.Scraped++
			}
		})
		c.SLOs = append(c.SLOs, one)
		c.Recorded += one.Recorded
		c.Alerts += one.Alerts
		c.PerTenant += one.PerTenant
	}
	c.Total = c.Scraped + c.Recorded + c.Alerts
	for _, name := range slices.Sorted(maps.Keys(tenants)) {
		if name != "" {
			c.ByTenant = append(c.ByTenant, *tenants[name])
		}
	}
	c.Tenants = len(c.ByTenant)
	slices.SortStableFunc(c.ByTenant, func(a, b report.TenantSeries) int { return cmp.Compare(b.Scraped+b.Written, a.Scraped+a.Written) })
	c.ByTenant = c.ByTenant[:min(listed, len(c.ByTenant))]
	if c.PerTenant > 0 {
		c.Room = max(0, (limit-c.Total)/c.PerTenant)
	}
	return c
}

// seriesOf forecasts one objective: what it reads, tenant by tenant, and what its groups will write for each of them.
func seriesOf(o slo.Objective, groups []rulefmt.RuleGroup, present *inventory, each func(tenant string, read labels.Labels, written int)) report.SLOSeries {
	one := report.SLOSeries{Service: o.Service, SLO: o.Name}
	byTenant := map[string]map[string]labels.Labels{}
	recordings, alerts := 0, 0
	p := parser.NewParser(parser.Options{})
	for _, g := range groups {
		if g.Name != o.ID() && g.Name != o.ID()+"/budget" {
			continue
		}
		for _, r := range g.Rules {
			if r.Alert != "" {
				alerts++
				continue
			}
			recordings++
			expr, err := p.ParseExpr(r.Expr)
			if err != nil {
				continue // rulegen parses what it writes
			}
			for _, sel := range selectors(expr) {
				for _, l := range present.selects(sel.LabelMatchers) {
					tenant := l.Get(o.Tenant.Label)
					if byTenant[tenant] == nil {
						byTenant[tenant] = map[string]labels.Labels{}
					}
					byTenant[tenant][l.String()] = l
				}
			}
		}
	}
	largest := 0
	for tenant, read := range byTenant {
		for _, l := range read {
			each(tenant, l, 0)
		}
		each(tenant, labels.EmptyLabels(), recordings+perAlert*alerts)
		one.Scraped += len(read)
		largest = max(largest, len(read))
	}
	one.Tenants = len(byTenant)
	one.Recorded, one.Alerts = recordings*one.Tenants, perAlert*alerts*one.Tenants
	if o.Tenant.Label != "" && o.Tenant.Static == "" {
		one.PerTenant = largest + recordings + perAlert*alerts
	}
	return one
}

// savings lists what no rule reads: whole metrics, and labels of metrics that rules read; and recordings that no tier
// needs. Largest first.
func (v *verification) savings() []report.Saving {
	read, needed := v.readLabels()
	var all []report.Saving
	for _, metric := range slices.Sorted(maps.Keys(v.present.byMetric)) {
		series := v.present.byMetric[metric]
		if !read[metric] {
			all = append(all, report.Saving{Drop: "metric " + metric, Series: len(series), Why: "no rule reads it"})
			continue
		}
		all = append(all, needless(metric, series, needed[metric])...)
	}
	for _, o := range v.objectives {
		all = append(all, v.spare(o)...)
	}
	slices.SortStableFunc(all, func(a, b report.Saving) int { return cmp.Compare(b.Series, a.Series) })
	return all[:min(listed, len(all))]
}

// readLabels says which metrics the rules read, generated and deployed, and which of their labels decide something.
func (v *verification) readLabels() (read map[string]bool, needed map[string]map[string]bool) {
	read, needed = map[string]bool{}, map[string]map[string]bool{}
	p := parser.NewParser(parser.Options{})
	groups := slices.Clone(v.groups.Groups)
	for _, b := range v.deployed.books {
		groups = append(groups, b.groups...)
	}
	for _, g := range groups {
		for _, r := range g.Rules {
			expr, err := p.ParseExpr(r.Expr)
			if err != nil {
				continue
			}
			grouping := grouped(expr)
			for _, sel := range selectors(expr) {
				read[sel.Name] = true
				if needed[sel.Name] == nil {
					needed[sel.Name] = map[string]bool{}
				}
				for _, name := range grouping {
					needed[sel.Name][name] = true
				}
				for _, m := range sel.LabelMatchers {
					needed[sel.Name][m.Name] = true
				}
			}
		}
	}
	return read, needed
}

// keepAll stands in a list of needed labels for all of them: an expression that does not say which it keeps.
const keepAll = "*"

// grouped lists the labels that an expression groups by.
func grouped(expr parser.Expr) []string {
	var all []string
	aggregates := false
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if e, ok := n.(*parser.AggregateExpr); ok {
			aggregates = true
			all = append(all, e.Grouping...)
			if e.Without {
				all = append(all, keepAll)
			}
		}
		return nil
	})
	if !aggregates {
		all = append(all, keepAll)
	}
	return all
}

// needless lists the labels of a metric that no rule looks at and that multiply its series. Those that tell processes
// apart are left: without them counters of two processes would be one.
func needless(metric string, series []labels.Labels, needed map[string]bool) []report.Saving {
	if needed[keepAll] {
		return nil
	}
	names := map[string]bool{}
	for _, l := range series {
		l.Range(func(one labels.Label) { names[one.Name] = true })
	}
	var all []report.Saving
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if needed[name] || slices.Contains([]string{model.MetricNameLabel, model.InstanceLabel, model.JobLabel, "pod", "container", model.BucketLabel}, name) {
			continue
		}
		left := map[uint64]bool{}
		for _, l := range series {
			hash, _ := l.HashWithoutLabels(nil, name)
			left[hash] = true
		}
		if saved := len(series) - len(left); saved > 0 {
			all = append(all, report.Saving{Drop: fmt.Sprintf("label %s of %s", name, metric), Series: saved, Why: "no rule looks at it: count without it, for a relabelling that drops it would mix the counters"})
		}
	}
	return all
}

// spare lists recordings that the contract asks for and no tier reads.
func (v *verification) spare(o slo.Objective) []report.Saving {
	k := slices.IndexFunc(v.doc.Cardinality.SLOs, func(s report.SLOSeries) bool { return s.Service == o.Service && s.SLO == o.Name })
	if k < 0 {
		return nil
	}
	var all []report.Saving
	for _, w := range o.Record {
		if !slices.Contains(o.Policy.Windows(), w) {
			all = append(all, report.Saving{
				Drop: rulegen.BurnRateMetric + slo.FormatWindow(w) + " of " + o.ID(), Series: v.doc.Cardinality.SLOs[k].Tenants, Why: "no tier reads it",
			})
		}
	}
	return all
}

func (v *verification) tellSeries() (string, map[string]any) {
	c := v.doc.Cardinality
	detail := fmt.Sprintf("%d of %d series: %d scraped, %d recorded, %d of alerts; %s, each more adds %d; %d samples a tick",
		c.Total, c.Limit, c.Scraped, c.Recorded, c.Alerts, report.Count(c.Tenants, "tenant"), c.PerTenant, c.Cost.Samples)
	if len(c.Savings) > 0 {
		detail += fmt.Sprintf("; without %s %d fewer", c.Savings[0].Drop, c.Savings[0].Series)
	}
	return detail, map[string]any{
		"series": c.Total, "limit": c.Limit, "scraped": c.Scraped, "recorded": c.Recorded, "alerts": c.Alerts,
		"tenants": c.Tenants, "per_tenant": c.PerTenant, "samples_per_tick": c.Cost.Samples,
	}
}
