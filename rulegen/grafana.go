package rulegen

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// The metrics that slowburn itself exports, as docs/metrics.md lists them, so far as the dashboard shows them.
const (
	exportedObjective  = "slowburn_objective_ratio"
	exportedRemaining  = "slowburn_error_budget_remaining_ratio"
	exportedExhaustion = "slowburn_error_budget_exhaustion_seconds"
	exportedState      = "slowburn_alert_state"
	exportedVerdict    = "slowburn_alert_verdict"
)

// grafanaSchema is the schemaVersion of Grafana 12, whose importer migrates nothing then; older ones read it too.
const grafanaSchema = 42

// object is a JSON object; encoding/json writes its keys sorted.
type object = map[string]any

// dashboard is a Grafana dashboard in the making: panels get their ids and places in the order they are added.
type dashboard struct {
	panels []object
	legend string // of recordings, which keep the tenant label under its own name
	x, y   int
	height int // of the current line of panels
}

const grafanaWidth = 24

// WriteGrafana writes a Grafana dashboard: what the rules record and what slowburn exports, by service, SLO and
// tenant. Windows and thresholds are those of the objectives.
func WriteGrafana(w io.Writer, objectives []slo.Objective) error {
	d := &dashboard{legend: recordedLegend(objectives)}
	d.overview()
	d.row("Burn rates")
	for _, window := range allWindows(objectives) {
		d.burnRate(window, thresholdsOf(objectives, window))
	}
	d.row("Error budgets")
	d.budgets()
	d.row("Alerts")
	d.alerts(longestWindow(objectives))
	text, err := json.MarshalIndent(d.json(), "", "  ")
	if err != nil {
		return fmt.Errorf("write dashboard: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

func allWindows(objectives []slo.Objective) []time.Duration {
	var all []time.Duration
	for _, o := range objectives {
		all = append(all, o.Policy.Windows()...)
		all = append(all, o.Record...)
	}
	return sortedUnique(all)
}

func recordedLegend(objectives []slo.Objective) string {
	var tenants []string
	for _, o := range objectives {
		if o.Tenant.Label != "" {
			tenants = append(tenants, " {{"+o.Tenant.Label+"}}")
		}
	}
	return "{{service}} {{slo}}" + strings.Join(unique(tenants), "")
}

// thresholdsOf are the burn rates at which some tier alerts over a window.
func thresholdsOf(objectives []slo.Objective, window time.Duration) []float64 {
	var factors []float64
	for _, o := range objectives {
		for _, t := range o.Policy.Tiers {
			if t.Long == window || t.Short == window {
				factors = append(factors, t.Factor)
			}
		}
	}
	slices.Sort(factors)
	return slices.Compact(factors)
}

// longestWindow is one of the windows whose failed events are recorded, zero if none is.
func longestWindow(objectives []slo.Objective) time.Duration {
	var longest time.Duration
	for _, o := range objectives {
		for _, t := range o.Policy.Tiers {
			if o.MinFailures > 0 {
				longest = max(longest, t.Long)
			}
		}
	}
	return longest
}

// ofService selects by the variables service and slo, ofTenant by tenant too: recordings keep the tenant label
// under its own name, what slowburn exports calls it tenant.
func ofService(metric string) string { return metric + `{service=~"$service",slo=~"$slo"}` }
func ofTenant(metric string) string {
	return metric + `{service=~"$service",slo=~"$slo",tenant=~"$tenant"}`
}

func (d *dashboard) overview() {
	d.add("stat", "Objective", 6, 4, instant(ofService(exportedObjective), "{{service}} {{slo}}"), "percentunit", steps("text"))
	d.add("stat", "Budget left, worst tenant", 6, 4, instant("min by (service, slo) ("+ofTenant(exportedRemaining)+")", "{{service}} {{slo}}"), "percentunit", budgetSteps())
	d.add("stat", "Budget spent in, soonest tenant", 6, 4, instant("min by (service, slo) ("+ofTenant(exportedExhaustion)+")", "{{service}} {{slo}}"), "s",
		steps("red", 86400.0, "orange", 604800.0, "green"))
	d.add("stat", "Alerts firing", 6, 4, instant("count("+ofTenant(exportedState)+" == 2) or vector(0)", "firing"), "short", steps("green", 1.0, "red"))
}

func (d *dashboard) burnRate(window time.Duration, thresholds []float64) {
	name := slo.FormatWindow(window)
	colors := []any{"green"}
	for _, t := range thresholds {
		colors = append(colors, t, "red")
	}
	panel := d.add("timeseries", "Burn rate over "+name, 12, 8, ranged(ofService(BurnRateMetric+name), d.legend), "none", steps(colors...))
	defaults(panel)["custom"] = object{"thresholdsStyle": object{"mode": "line"}, "fillOpacity": 0, "lineWidth": 1}
	panel["description"] = "1 spends the budget exactly over the SLO's period. Lines: where a tier alerts, if its other window agrees."
}

func (d *dashboard) budgets() {
	left := d.add("timeseries", "Budget left by tenant", 12, 8, ranged(ofTenant(exportedRemaining), "{{service}} {{slo}} {{tenant}}"), "percentunit", budgetSteps())
	defaults(left)["custom"] = object{"thresholdsStyle": object{"mode": "line"}, "fillOpacity": 0, "lineWidth": 1}
	d.add("timeseries", "Seconds until the budget is spent", 12, 8, ranged(ofTenant(exportedExhaustion), "{{service}} {{slo}} {{tenant}}"), "s", steps("text"))
	d.add("timeseries", "Budget left, as recorded", 12, 8, ranged(ofService(RemainingMetric), d.legend), "percentunit", budgetSteps())
}

func (d *dashboard) alerts(guarded time.Duration) {
	if guarded > 0 {
		d.add("timeseries", "Failed events in "+slo.FormatWindow(guarded), 12, 8,
			ranged(ofService(FailuresMetric+slo.FormatWindow(guarded)), d.legend), "short", steps("text"))
	}
	state := d.add("state-timeline", "Alert state", 24, 8, ranged(ofTenant(exportedState), "{{service}} {{slo}} {{tenant}} {{burn_tier}}"), "none",
		steps("green", 1.0, "orange", 2.0, "red"))
	defaults(state)["mappings"] = []any{object{"type": "value", "options": object{
		"1": object{"text": "pending", "color": "orange", "index": 0}, "2": object{"text": "firing", "color": "red", "index": 1}}}}
	verdict := d.add("table", "Verdict of history on each alert", 24, 8, instant(ofTenant(exportedVerdict)+" == 1", ""), "none", steps("text"))
	verdict["targets"].([]any)[0].(object)["format"] = "table"
	verdict["transformations"] = []any{object{"id": "organize", "options": object{
		"excludeByName": object{"Time": true, "Value": true, "__name__": true, "instance": true, "job": true},
		"indexByName":   object{"service": 0, "slo": 1, "tenant": 2, "burn_tier": 3, "verdict": 4}}}}
}

func budgetSteps() object { return steps("red", 0.0, "orange", 0.25, "green") }

// steps are a threshold's colours: the first from below, the others each behind the value where they begin.
func steps(colors ...any) object {
	list := []any{object{"color": colors[0], "value": nil}}
	for i := 1; i+1 < len(colors); i += 2 {
		list = append(list, object{"value": colors[i], "color": colors[i+1]})
	}
	return object{"mode": "absolute", "steps": list}
}

func datasource() object { return object{"type": "prometheus", "uid": "${datasource}"} }

func ranged(expr, legend string) object {
	return object{"datasource": datasource(), "expr": expr, "legendFormat": cmp.Or(legend, "__auto"), "refId": "A", "range": true, "instant": false}
}

func instant(expr, legend string) object {
	target := ranged(expr, legend)
	target["range"], target["instant"] = false, true
	return target
}

// defaults are the field settings of a panel that was added.
func defaults(panel object) object { return panel["fieldConfig"].(object)["defaults"].(object) }

// add places a panel right of the last one, or below where the line is full.
func (d *dashboard) add(kind, title string, width, height int, target object, unit string, thresholds object) object {
	if d.x+width > grafanaWidth {
		d.x, d.y = 0, d.y+d.height
	}
	panel := object{
		"id": len(d.panels) + 1, "type": kind, "title": title, "datasource": datasource(), "targets": []any{target},
		"gridPos":     object{"x": d.x, "y": d.y, "w": width, "h": height},
		"fieldConfig": object{"defaults": object{"unit": unit, "thresholds": thresholds}, "overrides": []any{}},
	}
	if kind == "stat" {
		panel["options"] = object{"graphMode": "none", "colorMode": "value", "justifyMode": "auto", "textMode": "auto", "orientation": "auto", "wideLayout": true,
			"showPercentChange": false, "percentChangeColorMode": "standard", "reduceOptions": object{"calcs": []any{"lastNotNull"}, "values": false, "fields": ""}}
	}
	d.panels = append(d.panels, panel)
	d.x, d.height = d.x+width, height
	return panel
}

func (d *dashboard) row(title string) {
	d.x, d.y = 0, d.y+d.height
	d.panels = append(d.panels, object{"id": len(d.panels) + 1, "type": "row", "title": title, "collapsed": false, "panels": []any{},
		"gridPos": object{"x": 0, "y": d.y, "w": grafanaWidth, "h": 1}})
	d.y, d.height = d.y+1, 0
}

func (d *dashboard) json() object {
	known := `{__name__=~"` + exportedObjective + "|" + RemainingMetric + `"}`
	return object{
		"uid": "slowburn-slo", "title": "SLOs and error budgets", "tags": []any{"slo", "slowburn"}, "schemaVersion": grafanaSchema,
		"description": "Generated by slowburn from the SLOs in the sources. Change them there.",
		"editable":    true, "timezone": "browser", "refresh": "1m", "graphTooltip": 1, "time": object{"from": "now-24h", "to": "now"},
		"panels": d.panels, "annotations": object{"list": []any{}},
		"templating": object{"list": []any{
			object{"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1},
			variable("service", "Service", known, 1),
			variable("slo", "SLO", `{__name__=~"`+exportedObjective+"|"+RemainingMetric+`",service=~"$service"}`, 2),
			variable("tenant", "Tenant", ofService(exportedRemaining), 2),
		}},
	}
}

// variable lists a label's values in some series. refresh 1 is on load, 2 on each change of the time range.
func variable(name, title, series string, refresh int) object {
	query := "label_values(" + series + ", " + name + ")"
	return object{
		"type": "query", "name": name, "label": title, "datasource": datasource(), "query": query, "definition": query,
		"refresh": refresh, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
	}
}
