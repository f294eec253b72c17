package contract

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// ObjectiveOptions says what the sources leave open.
type ObjectiveOptions struct {
	// ServiceOf names the service that a file belongs to; empty means: take the nearest package.json's name.
	ServiceOf func(file string) string
	// Policy is for declarations that name none; the zero value means slo.DefaultPolicy.
	Policy slo.Policy
	// TenantLabel is the project's tenant label, for declarations that tell tenants apart and name no label.
	TenantLabel string
}

// dynamicTenant is the expression that stands for "one budget per tenant" where a declaration names the label
// alone, or leaves tenants to our library.
const dynamicTenant = "context.tenantId"

// merged is one SLO while its declarations are laid together.
type merged struct {
	said
	service, name string
	from          []*Declaration
	by            map[string]slo.Position // which declaration said which field first
	instrument    bool
	broken        bool
}

// Objectives turns declarations into objectives, in the order of service and name. Declarations of one SLO
// are laid together field by field; where two differ in meaning, a finding names both places and there is no
// objective. A declaration in error gives findings, too, and no objective.
func (r *Result) Objectives(o ObjectiveOptions) ([]slo.Objective, []slo.Finding) {
	var findings []slo.Finding
	groups := map[string]*merged{}
	var order []string
	for i := range r.Declarations {
		d := &r.Declarations[i]
		service := o.serviceOf(d)
		if service == "" {
			findings = append(findings, slo.Finding{Rule: ruleNoService, Severity: severityOf(ruleNoService), Pos: d.Position(),
				Message: "no service is known for this declaration", Remedy: remedyOf(ruleNoService)})
			findings = append(findings, d.findings(false)...)
			continue
		}
		id := service + "/" + d.name()
		if groups[id] == nil {
			groups[id] = &merged{service: service, name: d.name(), by: map[string]slo.Position{}}
			order = append(order, id)
		}
		groups[id].from = append(groups[id].from, d)
	}
	slices.Sort(order)
	var objectives []slo.Objective
	for _, id := range order {
		objective, ok, more := groups[id].objective(o)
		findings = append(findings, more...)
		if ok {
			objectives = append(objectives, objective)
		}
	}
	return objectives, r.unsuppressed(findings)
}

func (o ObjectiveOptions) serviceOf(d *Declaration) string {
	if d.said.service != "" {
		return d.said.service
	}
	if o.ServiceOf != nil {
		if service := o.ServiceOf(d.File); service != "" {
			return service
		}
	}
	return d.Package
}

// name is the SLO's name, or what one without a name is called.
func (d *Declaration) name() string {
	switch {
	case d.said.name != "":
		return d.said.name
	case d.said.latency != 0:
		return "latency"
	}
	return "availability"
}

// findings are a declaration's faults. A target that another declaration of the SLO names is not missing.
func (d *Declaration) findings(filled bool) []slo.Finding {
	var all []slo.Finding
	for _, f := range d.Faults {
		if filled && f.Rule == ruleMissingTarget {
			continue
		}
		all = append(all, slo.Finding{Rule: f.Rule, Severity: severityOf(f.Rule), Pos: f.Pos, Message: f.Message, Remedy: f.Remedy, Snippet: f.Snippet})
	}
	return all
}

func (m *merged) objective(o ObjectiveOptions) (slo.Objective, bool, []slo.Finding) {
	var findings []slo.Finding
	for _, d := range m.from {
		if m.target == 0 {
			m.target = d.said.target
		}
	}
	filled := m.target != 0
	m.target = 0
	for _, d := range m.from {
		findings = append(findings, d.findings(filled)...)
		if !d.sound(filled) {
			m.broken = true
			continue
		}
		findings = append(findings, m.lay(d)...)
	}
	if m.broken || !filled {
		return slo.Objective{}, false, findings
	}
	objective, more := m.build(o)
	return objective, len(more) == 0, append(findings, more...)
}

// sound reports whether nothing that a declaration says is in error.
func (d *Declaration) sound(filled bool) bool {
	for _, f := range d.Faults {
		if f.Error != "" && !(filled && f.Rule == ruleMissingTarget) {
			return false
		}
	}
	return true
}

// lay adds what a declaration says to what others said before.
func (m *merged) lay(d *Declaration) []slo.Finding {
	var findings []slo.Finding
	if d.Kind == "call" {
		m.instrument = true
	}
	more := &d.said
	for _, field := range [...]struct {
		name     string
		has, own any
		take     func()
	}{
		{"target", m.said.target, more.target, func() { m.said.target = more.target }},
		{"window", m.said.window, more.window, func() { m.said.window = more.window }},
		{"burnRateThreshold", m.said.alert, more.alert, func() { m.said.alert = more.alert }},
		{"errors", m.said.errors, more.errors, func() { m.said.errors = more.errors }},
		{"total", m.said.total, more.total, func() { m.said.total = more.total }},
		{"metric", m.said.metric, more.metric, func() { m.said.metric = more.metric }},
		{"threshold", m.said.latency, more.latency, func() { m.said.latency = more.latency }},
		{"tenant", m.said.tenant, more.tenant, func() { m.said.tenant = more.tenant }},
		{"tenantLabel", m.said.tenantLabel, more.tenantLabel, func() { m.said.tenantLabel = more.tenantLabel }},
		{"minFailures", m.said.minFailures, more.minFailures, func() { m.said.minFailures = more.minFailures }},
		{"policy", m.said.policy, more.policy, func() { m.said.policy = more.policy }},
		{"runbook", m.said.runbook, more.runbook, func() { m.said.runbook = more.runbook }},
	} {
		switch {
		case reflect.ValueOf(field.own).IsZero():
		case reflect.ValueOf(field.has).IsZero():
			field.take()
			m.by[field.name] = d.Position()
		case !m.agree(field.has, field.own):
			m.broken = true
			findings = append(findings, m.disagreement(d, field.name, m.by[field.name], field.has, field.own))
		}
	}
	m.said.record = append(m.said.record, more.record...)
	if m.said.comment == "" {
		m.said.comment = d.Description
	}
	return findings
}

// agree compares two values of a field by what they mean: a threshold of 16x and one of 8% are one where the
// target is 99.5%.
func (m *merged) agree(a, b any) bool {
	x, ok1 := a.(*slo.Threshold)
	y, ok2 := b.(*slo.Threshold)
	if !ok1 || !ok2 {
		return reflect.DeepEqual(a, b)
	}
	if m.target == 0 {
		return *x == *y
	}
	return round(x.BurnRate(m.target, m.period())) == round(y.BurnRate(m.target, m.period()))
}

func (m *merged) period() time.Duration { return cmp.Or(m.window, slo.DefaultWindow) }

func (m *merged) disagreement(d *Declaration, field string, first slo.Position, a, b any) slo.Finding {
	return slo.Finding{
		Rule: ruleDisagree, Severity: severityOf(ruleDisagree), Pos: d.Position(), Related: []slo.Position{first},
		Message: fmt.Sprintf("%s/%s has %s %s here and %s at %s", m.service, m.name, field, show(b), show(a), first),
		Remedy:  remedyOf(ruleDisagree),
	}
}

func show(v any) string {
	switch v := v.(type) {
	case slo.Target:
		return v.String()
	case time.Duration:
		return slo.FormatWindow(v)
	case *slo.Threshold:
		return v.String()
	case *int:
		return fmt.Sprint(*v)
	case Tenant:
		return v.Static + v.Dynamic
	}
	return fmt.Sprint(v)
}

// build makes the objective, once everything is said.
func (m *merged) build(o ObjectiveOptions) (slo.Objective, []slo.Finding) {
	indicator, fault := m.indicator()
	if fault != "" {
		return slo.Objective{}, []slo.Finding{{Rule: ruleIndicator, Severity: severityOf(ruleIndicator), Pos: m.from[0].Position(), Message: fault, Remedy: remedyOf(ruleIndicator)}}
	}
	if m.alert != nil {
		if err := m.alert.Check(m.target, m.period()); err != nil && m.alert.BurnRate(m.target, m.period()) >= 1 {
			return slo.Objective{}, []slo.Finding{{Rule: ruleThreshold, Severity: severityOf(ruleThreshold), Pos: m.by["burnRateThreshold"], Message: err.Error()}}
		}
	}
	objective := slo.Objective{
		Service: m.service, Name: m.name, Target: m.target, Window: m.period(), Indicator: indicator,
		Tenant: m.tenantOf(o, indicator), Policy: m.policyOf(o), Record: windows(m.record), MinFailures: slo.DefaultMinFailures,
		Threshold: m.alert, RunbookURL: m.runbook, Description: m.comment,
	}
	if m.minFailures != nil {
		objective.MinFailures = *m.minFailures
	}
	for _, d := range m.from {
		objective.Declared = append(objective.Declared, d.Position())
	}
	return objective, nil
}

// indicator says which events count, or what is wrong with what the declarations say of it.
func (m *merged) indicator() (slo.Indicator, string) {
	switch {
	case m.latency != 0 && m.errors != "":
		return nil, "errors and threshold are both given: an SLO is about failed events or about slow ones"
	case m.latency != 0 && m.metric != "":
		return slo.Latency{Metric: m.metric, Threshold: m.latency}, ""
	case m.latency != 0 && m.total != "":
		return nil, "threshold is given with total: name the histogram as metric"
	case m.errors != "" && m.total != "" && m.metric != "" && m.metric != m.total:
		return nil, "metric and total are both given, and differ"
	case m.errors != "" && m.total == "" && m.metric == "":
		return nil, "errors is given without total"
	case m.errors != "" || m.total != "" || m.metric != "":
		return slo.Availability{Errors: m.errors, Total: cmp.Or(m.total, m.metric)}, ""
	}
	return slo.Unnamed{Instrument: m.instrument, Threshold: m.latency}, ""
}

func (m *merged) tenantOf(o ObjectiveOptions, indicator slo.Indicator) slo.Tenant {
	t := slo.Tenant{Static: m.tenant.Static, Dynamic: m.tenant.Dynamic, Label: m.tenantLabel}
	if t.IsZero() {
		return t
	}
	if t.Static == "" && t.Dynamic == "" {
		t.Dynamic = dynamicTenant
	}
	if t.Label == "" {
		t.Label = o.TenantLabel
	}
	if unnamed, ok := indicator.(slo.Unnamed); ok && unnamed.Instrument && t.Label == "" {
		t.Label = "tenant"
	}
	return t
}

func (m *merged) policyOf(o ObjectiveOptions) slo.Policy {
	policy := o.Policy
	if len(policy.Tiers) == 0 {
		policy = slo.DefaultPolicy()
	}
	if named, err := slo.PolicyNamed(m.policy); err == nil {
		policy = named
	}
	if m.alert != nil {
		policy = policy.WithThreshold(*m.alert, m.target, m.period())
	}
	return policy
}

func windows(all []time.Duration) []time.Duration {
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}
