package drift

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slowburn/slowburn/slo"
)

// compareDashboard walks a dashboard's widgets, those inside groups and tabs too.
func (d *datadog) compareDashboard(n *node) {
	title := n.get("title").str()
	var walk func(widgets *node)
	walk = func(widgets *node) {
		for _, w := range widgets.items() {
			definition := w.get("definition")
			if definition == nil {
				definition = w
			}
			d.compareWidget(title, definition)
			walk(definition.get("widgets"))
		}
	}
	walk(n.get("widgets"))
	for _, tab := range n.get("tabs").items() {
		walk(tab.get("widgets"))
	}
}

func (d *datadog) compareWidget(dashboard string, w *node) {
	at := fmt.Sprintf("dashboard %q", dashboard)
	if title := w.get("title").str(); title != "" {
		at += fmt.Sprintf(", widget %q", title)
	}
	if w.get("type").str() == "slo" {
		d.compareSLOWidget(at, w)
	}
	if id := w.get("alert_id"); id != nil {
		d.alertReference(at, id)
	}
	for _, request := range w.get("requests").items() {
		for _, query := range request.get("queries").items() {
			if query.get("data_source").str() == "slo" {
				d.compareMeasure(at, w, request, query)
			}
		}
	}
	d.compareRatioMarkers(at, w)
}

// sloReference is the objective that a widget points at. What is not in the export is told.
func (d *datadog) sloReference(where string, id *node) *slo.Objective {
	for _, s := range d.slos {
		if s.id == id.str() && s.id != "" {
			return s.objective
		}
	}
	d.put(nil, Fact{Subject: "SLO of " + where, Verdict: Unchecked, Got: "SLO " + id.str() + " is not in the export", There: id.pos, Rule: ruleDatadogReference,
		Remedy: "export the SLO too, or point the widget at one that is there"})
	return nil
}

// alertReference looks for the monitor that a widget shows; an export without monitors tells nothing of it.
func (d *datadog) alertReference(where string, id *node) {
	if slices.ContainsFunc(d.monitors, func(m *datadogMonitor) bool { return m.id == id.str() }) {
		return
	}
	f := Fact{Subject: "monitor of " + where, Verdict: Unchecked, Got: "monitor " + id.str() + " is not in the export", There: id.pos}
	if len(d.monitors) > 0 {
		f.Rule, f.Remedy = ruleDatadogReference, "export the monitor too, or point the widget at one that is there"
	}
	d.put(nil, f)
}

func (d *datadog) compareSLOWidget(where string, w *node) {
	id := w.get("slo_id")
	if id == nil {
		return
	}
	o := d.sloReference(where, id)
	if o == nil {
		return
	}
	windows := w.get("time_windows")
	shown := windows.strings()
	if len(shown) > 0 {
		want := slo.FormatWindow(o.Window)
		f := Fact{Subject: "time windows of " + where, Verdict: verdictOf(slices.Contains(shown, want)), Want: want, Got: strings.Join(shown, ", "),
			There: windows.pos, Rule: ruleDatadogDashboard, Remedy: "show the SLO's own period too"}
		switch {
		case !slices.Contains(datadogTimeframes, o.Window):
			f.Verdict, f.Rule = NotRepresentable, ""
		case f.Verdict == Differs && slices.Contains(shown, "global_time"):
			f.Verdict, f.Rule, f.Got = Unchecked, "", "the widget shows the dashboard's own time"
		}
		d.put(o, f)
	}
	if target := w.get("global_time_target"); target != nil {
		percent, ok := target.number()
		d.put(o, Fact{Subject: "global_time_target of " + where, Verdict: verdictOf(ok && equalNumbers(percent/100, float64(o.Target))), Want: o.Target.String(),
			Got: target.str() + "%", There: target.pos, Rule: ruleDatadogDashboard, Remedy: "make both say the same"})
	}
}

// compareMeasure holds the thresholds that are drawn on an SLO's measure against the contract.
func (d *datadog) compareMeasure(where string, w, request, query *node) {
	id := query.get("slo_id")
	if id == nil {
		return
	}
	o := d.sloReference(where, id)
	if o == nil {
		return
	}
	drawn := drawnThresholds(w, request)
	switch query.get("measure").str() {
	case "burn_rate":
		for _, t := range drawn {
			fits := slices.ContainsFunc(o.Policy.Tiers, func(tier slo.Tier) bool { return equalNumbers(tier.Factor, t.value) })
			d.put(o, Fact{Subject: "threshold drawn in " + where, Verdict: verdictOf(fits || t.value == 1 || t.value == 0), Want: factors(o), Got: times(t.value),
				There: t.at.pos, Rule: ruleDatadogDashboard, Remedy: "draw the thresholds of the tiers"})
		}
	case "slo_status":
		if len(drawn) == 0 {
			return
		}
		var got []string
		same := false
		for _, t := range drawn {
			got = append(got, slo.FormatNumber(t.value)+"%")
			same = same || equalNumbers(t.value/100, float64(o.Target))
		}
		d.put(o, Fact{Subject: "threshold drawn in " + where, Verdict: verdictOf(same), Want: o.Target.String(), Got: strings.Join(got, ", "),
			There: drawn[0].at.pos, Rule: ruleDatadogDashboard, Remedy: "draw the target of the contract"})
	}
}

func factors(o *slo.Objective) string {
	var all []string
	for _, t := range o.Policy.Tiers {
		all = append(all, times(t.Factor))
	}
	return strings.Join(all, ", ")
}

// drawnThreshold is a number that somebody wrote into a widget by hand.
type drawnThreshold struct {
	value float64
	at    *node
}

var markerForm = regexp.MustCompile(`^\s*y\s*(?:=|<=|>=|<|>)\s*` + datadogNumber + `\s*$`)

// drawnThresholds are the widget's markers, and the conditional formats of it and of a request.
func drawnThresholds(w, request *node) []drawnThreshold {
	var all []drawnThreshold
	for _, m := range w.get("markers").items() {
		if parts := markerForm.FindStringSubmatch(m.get("value").str()); parts != nil {
			if value, err := strconv.ParseFloat(parts[1], 64); err == nil {
				all = append(all, drawnThreshold{value, m.get("value")})
			}
		}
	}
	for _, holder := range []*node{w, request} {
		for _, c := range holder.get("conditional_formats").items() {
			if value, ok := c.get("value").number(); ok {
				all = append(all, drawnThreshold{value, c.get("value")})
			}
		}
	}
	return all
}

var serviceScope = regexp.MustCompile(`\bservice:([A-Za-z0-9_./-]+)`)

// compareRatioMarkers looks at thresholds drawn on a ratio of a service's own metrics.
func (d *datadog) compareRatioMarkers(where string, w *node) {
	for _, request := range w.get("requests").items() {
		text := requestText(request)
		m := serviceScope.FindStringSubmatch(text)
		if m == nil || !strings.Contains(scopeForm.ReplaceAllString(text, ""), "/") {
			continue
		}
		o, _ := d.contract.link(belonging{services: []string{m[1]}, name: where, alone: true})
		if o == nil {
			continue
		}
		percent := percentForm.MatchString(scopeForm.ReplaceAllString(text, ""))
		for _, t := range drawnThresholds(w, request) {
			d.ratioMarker(o, where, t, percent)
		}
	}
}

func (d *datadog) ratioMarker(o *slo.Objective, where string, t drawnThreshold, percent bool) {
	ratio := t.value
	if percent {
		ratio /= 100
	}
	if ratio <= 0 || ratio >= 1 {
		return // an axis's end, or no ratio after all
	}
	known := hasErrorRatio(o, ratio, 0) || equalNumbers(ratio, o.Target.Budget()) || equalNumbers(ratio, float64(o.Target))
	d.put(o, Fact{Subject: "threshold drawn in " + where, Verdict: verdictOf(known), Want: "budget " + slo.FormatPercent(o.Target.Budget()) + ", tiers " + errorRatios(o),
		Got: slo.FormatPercent(ratio), There: t.at.pos, Rule: ruleDatadogDashboard, Remedy: "draw the contract's thresholds"})
}

// requestText is a request's formulas, or its query in the older form, with the queries that formulas name.
func requestText(request *node) string {
	texts := []string{request.get("q").str()}
	for _, f := range request.get("formulas").items() {
		texts = append(texts, f.get("formula").str())
	}
	for _, q := range request.get("queries").items() {
		if q.get("data_source").str() == "metrics" {
			texts = append(texts, q.get("query").str())
		}
	}
	return strings.Join(texts, " ")
}
