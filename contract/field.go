package contract

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// fields reads every field in turn, so that all faults are found and not the first alone.
func (r *reader) fields() {
	r.targetField()
	r.windowField()
	r.alertField()
	r.tenantField()
	r.recordField()
	r.textField("service", &r.said.service, "service")
	r.Service = r.said.service
	r.textField("name", &r.said.name, "name", "slo")
	r.textField("errors", &r.said.errors, "errors")
	r.textField("total", &r.said.total, "total")
	r.textField("metric", &r.said.metric, "metric")
	r.textField("tenantLabel", &r.said.tenantLabel, "tenantLabel")
	r.textField("policy", &r.said.policy, "policy")
	r.textField("runbook", &r.said.runbook, "runbook", "runbookUrl")
	r.textField("description", &r.said.comment, "description")
	r.latencyField()
	r.minFailuresField()
	r.policyField()
	r.labelField()
	r.Name, r.Errors, r.Total, r.Metric = r.said.name, r.said.errors, r.said.total, r.said.metric
	r.TenantLabel, r.Policy, r.Runbook = r.said.tenantLabel, r.said.policy, r.said.runbook
	if r.said.comment != "" {
		r.Description = r.said.comment
	}
	if r.Error != "" {
		r.hideValues()
	}
}

// read finds the value of a field under any of its keys. It is not ok where nothing is said, or where what is
// said can't be used, which is then a fault.
func (r *reader) read(field string, keys ...string) (spoken, bool) {
	r.e.trace = nil
	var got spoken
	for _, key := range keys {
		next := r.look(key)
		if !next.ok || next.kind == undefined && next.env == "" {
			continue
		}
		if next.open && (got.ok || field != "sloTarget") {
			continue // it may be said; the target is the one field that must be
		}
		if got.states() {
			next.value = oneOf(got.value, next.value)
			if next.kind == choice {
				r.ambiguous(field, next)
				return next, false
			}
		}
		got = next
	}
	if !got.ok {
		return got, false
	}
	r.trace(field, got)
	return got, r.usable(field, got)
}

func (r *reader) usable(field string, got spoken) bool {
	switch {
	case got.kind == choice:
		r.ambiguous(field, got)
	case got.env != "" && (got.kind == undefined || got.kind == number && math.IsNaN(got.num)):
		r.unresolved(field, got, "the environment variable "+got.env+" has no default")
	case got.kind == unknown, got.kind == outside:
		r.unresolved(field, got, r.reason(got))
	default:
		if got.env != "" {
			if r.Env == nil {
				r.Env = map[string]string{}
			}
			r.Env[field] = got.env
		}
		return true
	}
	return false
}

// reason says why a value can't be told, and where that is decided if it is elsewhere.
func (r *reader) reason(got spoken) string {
	v := got.value
	if v.kind == outside {
		return v.path + " comes from outside the tree"
	}
	if v.whyAt.File != "" && (v.whyAt.File != got.pos.File || v.whyAt.Line != got.pos.Line) {
		return fmt.Sprintf("%s (%s)", v.why, v.whyAt)
	}
	return v.why
}

func (r *reader) unresolved(field string, got spoken, why string) {
	rule := ruleUnresolved
	if got.param && field == "sloTarget" {
		rule = rulePassedThrough
	}
	r.fail(Fault{Rule: rule, Error: "unresolved", Field: field, Message: fmt.Sprintf("%s can't be resolved: %s", field, why), Pos: got.pos})
}

func (r *reader) ambiguous(field string, got spoken) {
	var values []any
	var spelled []string
	for _, alt := range got.alts {
		values = append(values, alt.plain())
		s, ok := alt.spelled()
		if !ok {
			s = "an object"
		}
		spelled = append(spelled, s)
	}
	r.fail(Fault{Rule: ruleAmbiguous, Error: "ambiguous", Field: field, Values: values, Pos: got.pos,
		Message: fmt.Sprintf("%s may be %s, and the sources do not say which", field, strings.Join(spelled, " or "))})
}

func (r *reader) wrongType(field string, got spoken, want string) {
	r.fail(Fault{Rule: ruleWrongType, Error: "wrong-type", Field: field, Message: fmt.Sprintf("%s is %s", field, describe(got.value)), Remedy: "write " + want, Pos: got.pos})
}

func (r *reader) outOfRange(rule, field string, got spoken, err error) {
	message, remedy, _ := strings.Cut(err.Error(), ": write ")
	if remedy != "" {
		remedy = "write " + remedy
	}
	r.fail(Fault{Rule: rule, Error: "out-of-range", Field: field, Message: message, Remedy: remedy, Pos: got.pos})
}

func describe(v value) string {
	s, ok := v.spelled()
	switch {
	case v.kind == textual:
		return fmt.Sprintf("the text %q", v.text)
	case ok:
		return s
	case v.kind == list:
		return "a list"
	case v.kind == function:
		return "a function"
	}
	return "an object"
}

func (r *reader) targetField() {
	const field = "sloTarget"
	got, ok := r.read(field, "target", "sloTarget")
	if !ok {
		if !got.ok {
			r.fail(Fault{Rule: ruleMissingTarget, Error: "missing-target", Field: field, Message: "the declaration names no target", Pos: r.at})
		}
		return
	}
	var t slo.Target
	var err error
	switch got.kind {
	case number:
		t, err = slo.NewTarget(round(got.num))
	case textual:
		if !numeric(got.text) {
			r.wrongType(field, got, "a share such as 0.995 or a percentage such as 99.5%")
			return
		}
		t, err = slo.ParseTarget(got.text)
		t = slo.Target(round(float64(t)))
	default:
		r.wrongType(field, got, "a share such as 0.995 or a percentage such as '99.5%'")
		return
	}
	if err != nil {
		r.outOfRange(ruleTargetRange, field, got, err)
		return
	}
	r.said.target = t
	r.SLOTarget = new(float64(t))
}

// numeric reports whether a text is a number, with or without a percent sign.
func numeric(s string) bool {
	s = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "%"))
	return s != "" && !math.IsNaN(textToNumber(s)) && !math.IsInf(textToNumber(s), 0)
}

func (r *reader) windowField() {
	got, ok := r.read("window", "window")
	if !ok {
		return
	}
	if got.kind != textual {
		r.wrongType("window", got, "a duration such as '30d'")
		return
	}
	w, err := slo.ParseWindow(got.text)
	if err != nil {
		r.outOfRange(ruleWindow, "window", got, err)
		return
	}
	r.said.window, r.Window = w, got.text
}

func (r *reader) alertField() {
	const field = "burnRateThreshold"
	got, ok := r.read(field, field)
	if !ok {
		return
	}
	t, err := r.alert(got)
	if err != nil {
		r.outOfRange(ruleThreshold, field, got, err)
		return
	}
	if t == nil {
		return
	}
	r.said.alert, r.AlertThreshold = t, t
	r.BurnRateThreshold = new(round(t.Value))
	if t.Unit == slo.UnitBudget {
		r.BurnRateThreshold = nil
	}
	r.checkAlert(got)
}

// checkAlert refuses a threshold that can never fire. One that would fire on a service which keeps its promise
// is only remarked on: the values are what the source says.
func (r *reader) checkAlert(got spoken) {
	if r.said.target == 0 {
		return
	}
	window := r.said.window
	if window == 0 {
		window = slo.DefaultWindow
	}
	err := r.said.alert.Check(r.said.target, window)
	switch {
	case err == nil:
	case r.said.alert.Unit != slo.UnitBudget && r.said.alert.BurnRate(r.said.target, window) < 1:
		r.fail(Fault{Rule: ruleLowThreshold, Message: err.Error(), Pos: got.pos})
	default:
		r.outOfRange(ruleThreshold, "burnRateThreshold", got, err)
	}
}

func (r *reader) alert(got spoken) (*slo.Threshold, error) {
	const want = "a burn rate such as 14.4 or '14.4x', an error ratio such as '8%', or {budget: '2%', within: '1h'}"
	switch got.kind {
	case number:
		t, err := slo.ReadThreshold(round(got.num))
		return &t, err
	case textual:
		if !numeric(strings.TrimSuffix(strings.TrimSpace(got.text), "x")) {
			r.wrongType("burnRateThreshold", got, want)
			return nil, nil
		}
		t, err := slo.ParseThreshold(got.text)
		return &t, err
	case object:
		return r.alertObject(got, want)
	}
	r.wrongType("burnRateThreshold", got, want)
	return nil, nil
}

// alertObject reads {burnRate}, {errorRatio} and {budget, within}.
func (r *reader) alertObject(got spoken, want string) (*slo.Threshold, error) {
	const field = "burnRateThreshold"
	_, names, open := r.e.keys(got.value)
	if open {
		r.unresolved(field, got, "it takes in an object that is not known here")
		return nil, nil
	}
	var t *slo.Threshold
	var within string
	for _, name := range names {
		inner := spoken{found: r.e.find(got.value, name), pos: got.pos}
		if !r.usable(field, inner) {
			return nil, nil
		}
		switch unit, ok := unitOf(name); {
		case ok && t == nil && (inner.kind == number || inner.kind == textual):
			stated, err := amount(unit, inner.value)
			if err != nil {
				return nil, err
			}
			t = &stated
		case name == "within" && inner.kind == textual:
			within = inner.text
		default:
			r.wrongType(field, got, want)
			return nil, nil
		}
	}
	if t == nil || (t.Unit == slo.UnitBudget) != (within != "") {
		r.wrongType(field, got, want)
		return nil, nil
	}
	return checkedAlert(t, within)
}

func checkedAlert(t *slo.Threshold, within string) (*slo.Threshold, error) {
	if within == "" {
		return t, nil
	}
	w, err := slo.ParseWindow(within)
	t.Within = w
	return t, err
}

func unitOf(key string) (slo.Unit, bool) {
	for _, u := range []slo.Unit{slo.UnitBurnRate, slo.UnitErrorRatio, slo.UnitBudget} {
		if u.Key() == key {
			return u, true
		}
	}
	return "", false
}

// amount reads the member of an explicit form: a number, or a text with the sign that fits.
func amount(u slo.Unit, v value) (slo.Threshold, error) {
	if v.kind == number {
		return slo.StatedThreshold(u, round(v.num))
	}
	return slo.ParseStated(u, v.text)
}

// tenantField reads who the budget is for. What the sources do not tell is what the running service tells: the
// expression itself is the answer.
func (r *reader) tenantField() {
	r.e.trace = nil
	var got spoken
	for _, key := range []string{"tenant", "tenantId"} {
		if next := r.look(key); next.states() && !(next.kind == undefined && next.env == "") && !got.ok {
			got = next
		}
	}
	if !got.ok {
		return
	}
	r.trace("tenant", got)
	switch got.kind {
	case textual:
		if got.text == "" {
			r.outOfRange(ruleWrongType, "tenant", got, fmt.Errorf("tenant is empty: write a name, or leave it out"))
			return
		}
		r.said.tenant = Tenant{Static: got.text}
		if got.env != "" {
			r.usable("tenant", got)
		}
	case number, boolean, null, list, object:
		r.wrongType("tenant", got, "a text, or an expression that the running service knows")
		return
	default:
		if got.at.node == nil || got.at.src.path != r.File {
			r.unresolved("tenant", got, r.reason(got))
			return
		}
		r.said.tenant = Tenant{Dynamic: spell(got.at)}
	}
	r.Tenant = &r.said.tenant
}

// windowAtEnd is the window that a recording rule's name ends in.
var windowAtEnd = regexp.MustCompile(`(?:[0-9]+(?:ms|[smhdwy]))+$`)

func (r *reader) recordField() {
	const field = "recordingRules"
	got, ok := r.read(field, field)
	if !ok {
		return
	}
	items := got.items
	switch {
	case got.kind == textual && got.tag:
		for name := range strings.SplitSeq(got.text, ",") {
			items = append(items, textOf(strings.TrimSpace(name)))
		}
	case got.kind != list:
		r.wrongType(field, got, "a list of names such as ['error_budget:burn_rate:5m']")
		return
	}
	names := []string{}
	for _, item := range items {
		one := spoken{found: found{value: item, at: item.at, ok: true}, pos: got.pos}
		if !r.usable(field, one) {
			return
		}
		if item.kind != textual || item.text == "" {
			r.wrongType(field, one, "a list of names such as ['error_budget:burn_rate:5m']")
			return
		}
		names = append(names, item.text)
	}
	r.RecordingRules = names
	for _, name := range names {
		w, err := slo.ParseWindow(windowAtEnd.FindString(name))
		if err != nil {
			r.fail(Fault{Rule: ruleNoWindow, Field: field, Message: fmt.Sprintf("recording rule %s ends in no window, so that it names none to record", name), Pos: got.pos})
			continue
		}
		r.said.record = append(r.said.record, w)
	}
}

func (r *reader) textField(field string, to *string, keys ...string) {
	got, ok := r.read(field, keys...)
	if !ok {
		return
	}
	if got.kind != textual || strings.TrimSpace(got.text) == "" {
		r.wrongType(field, got, "a text")
		return
	}
	*to = strings.TrimSpace(got.text)
}

func (r *reader) latencyField() {
	got, ok := r.read("threshold", "threshold")
	if !ok {
		return
	}
	const want = "a duration with its unit, such as '300ms' or '0.3s'"
	if got.kind != textual {
		r.wrongType("threshold", got, want)
		return
	}
	d, err := time.ParseDuration(strings.TrimSpace(got.text))
	if err != nil {
		r.wrongType("threshold", got, want)
		return
	}
	if d <= 0 {
		r.outOfRange(ruleWrongType, "threshold", got, fmt.Errorf("threshold %s is not above 0: %s", got.text, "write "+want))
		return
	}
	r.said.latency, r.Threshold = d, got.text
}

func (r *reader) minFailuresField() {
	got, ok := r.read("minFailures", "minFailures")
	if !ok {
		return
	}
	f := got.num
	if got.kind == textual && got.tag {
		n, err := strconv.Atoi(got.text)
		if err != nil {
			n = -1
		}
		f = float64(n)
	} else if got.kind != number {
		r.wrongType("minFailures", got, "a whole number such as 5, or 0 for no guard")
		return
	}
	if f < 0 || f != math.Trunc(f) || f > 1e9 {
		r.outOfRange(ruleWrongType, "minFailures", got, fmt.Errorf("minFailures is no whole number from 0 up: write 5, or 0 for no guard"))
		return
	}
	r.said.minFailures, r.MinFailures = new(int(f)), new(int(f))
}

func (r *reader) policyField() {
	if r.said.policy == "" {
		return
	}
	if _, err := slo.PolicyNamed(r.said.policy); err != nil {
		r.outOfRange(ruleWrongType, "policy", spoken{pos: r.at}, err)
	}
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (r *reader) labelField() {
	if l := r.said.tenantLabel; l != "" && !labelName.MatchString(l) {
		r.outOfRange(ruleWrongType, "tenantLabel", spoken{pos: r.at}, fmt.Errorf("tenantLabel %q is no label name: write letters, digits and underscores", l))
	}
}

func dirOf(file string) string { return path.Dir(file) }
