// Package report holds the document that verify and backtest write, and renders it, its findings and its
// tables for people and machines. It measures nothing itself.
package report

import (
	"time"

	"github.com/slowburn/slowburn/drift"
	"github.com/slowburn/slowburn/slo"
)

// Status says how a phase or a check ended.
type Status string

// What was not done is Skipped, with the reason, and never counts as Complete.
const (
	Complete Status = "complete"
	Skipped  Status = "skipped"
	Failed   Status = "failed"
)

// Verdict is the answer to the question that was asked.
type Verdict string

// Validated lets a deploy through; Held does not; Unknown means that verify could not run.
const (
	Validated Verdict = "validated"
	Held      Verdict = "held"
	Unknown   Verdict = "unknown"
)

// Document is one verification. Its JSON form is described in docs/verify.md.
type Document struct {
	ExecutionID string        `json:"execution_id"`
	Timestamp   time.Time     `json:"timestamp"`
	Version     string        `json:"version"`
	Directory   string        `json:"directory"`
	Phases      Phases        `json:"phase_logs"`
	Validation  Validation    `json:"validation_report"`
	Findings    []slo.Finding `json:"findings"`
	Verdict     Verdict       `json:"verdict"`
	FailOn      slo.Severity  `json:"fail_on"` // what the verdict was judged by

	Drift       []drift.Fact `json:"drift"` // what was compared with what is deployed
	Coverage    []Coverage   `json:"coverage"`
	Proofs      []Proof      `json:"proofs"`
	Burns       []Burn       `json:"burns"`                 // above the budget's pace when the history ended
	Cardinality *Cardinality `json:"cardinality,omitempty"` // absent without label sets to count
	Detection   *Detection   `json:"detection,omitempty"`   // absent where it can't be measured
	Revision    *Revision    `json:"revision,omitempty"`    // only with --base
}

// Phases are the steps of a verification, in the order in which they run.
type Phases struct {
	Topology     Phase `json:"docker_topology_scan"`
	Contract     Phase `json:"slo_contract_extraction"`
	BurnRate     Phase `json:"burn_rate_calculation"`
	Rules        Phase `json:"prometheus_rule_generation"`
	Proof        Phase `json:"alert_proof"`
	Series       Phase `json:"series_forecast"`
	Deployed     Phase `json:"config_comparison"`
	Alertmanager Phase `json:"alertmanager_sync"`
	// Revision is absent unless two revisions were to be compared.
	Revision *Phase `json:"revision_comparison,omitempty"`
}

// NamedPhase is a phase with its name in the JSON.
type NamedPhase struct {
	Name string
	Phase
}

// List gives the phases in order.
func (p Phases) List() []NamedPhase {
	all := []NamedPhase{
		{"docker_topology_scan", p.Topology},
		{"slo_contract_extraction", p.Contract},
		{"burn_rate_calculation", p.BurnRate},
		{"prometheus_rule_generation", p.Rules},
		{"alert_proof", p.Proof},
		{"series_forecast", p.Series},
		{"config_comparison", p.Deployed},
		{"alertmanager_sync", p.Alertmanager},
	}
	if p.Revision != nil {
		all = append(all, NamedPhase{"revision_comparison", *p.Revision})
	}
	return all
}

// Phase is the log of one step. Detail is one plain sentence; where Status is not Complete it gives the reason.
type Phase struct {
	Status   Status         `json:"status"`
	Detail   string         `json:"detail"`
	Duration Seconds        `json:"duration_seconds"`
	Figures  map[string]any `json:"figures,omitempty"`
}

// Seconds is a duration in JSON as Prometheus writes them.
type Seconds time.Duration

// MarshalJSON writes seconds with microseconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return []byte(slo.FormatNumber(time.Duration(s).Round(time.Microsecond).Seconds())), nil
}

// MarshalYAML writes seconds with microseconds.
func (s Seconds) MarshalYAML() (any, error) {
	return time.Duration(s).Round(time.Microsecond).Seconds(), nil
}

// Validation holds the figures that a deploy is judged by. Each is measured, or says why it is not.
type Validation struct {
	ConfigDrift              Check `json:"config_drift"`
	MetricsAvailable         Check `json:"metrics_available"`
	AlertCoverage            Check `json:"alert_coverage"`
	DetectionTimeImprovement Check `json:"detection_time_improvement"`
}

// NamedCheck is a check with its name in the JSON.
type NamedCheck struct {
	Name string
	Check
}

// List gives the checks in order.
func (v Validation) List() []NamedCheck {
	return []NamedCheck{
		{"config_drift", v.ConfigDrift},
		{"metrics_available", v.MetricsAvailable},
		{"alert_coverage", v.AlertCoverage},
		{"detection_time_improvement", v.DetectionTimeImprovement},
	}
}

// Check is one measured figure: a ratio with its numerator and denominator, so that 0 of 0 can't pass for 0 %.
type Check struct {
	Status      Status   `json:"status"`
	Detail      string   `json:"detail"`
	Ratio       *float64 `json:"ratio,omitempty"`
	Numerator   *int     `json:"numerator,omitempty"`
	Denominator *int     `json:"denominator,omitempty"`
	// Before and After are medians, of a check that sets two measurements beside each other.
	Before *Seconds `json:"before_seconds,omitempty"`
	After  *Seconds `json:"after_seconds,omitempty"`
}

// Share is a completed check of n out of d; without a denominator it is skipped.
func Share(n, d int, detail string) Check {
	if d == 0 {
		return Check{Status: Skipped, Detail: detail + ": nothing to compare", Numerator: &n, Denominator: &d}
	}
	ratio := float64(n) / float64(d)
	return Check{Status: Complete, Detail: detail, Ratio: &ratio, Numerator: &n, Denominator: &d}
}

// Judge sets the verdict: unknown where a phase failed, held where a finding is at or above failOn.
func (d *Document) Judge(failOn slo.Severity) {
	d.Verdict, d.FailOn = Validated, failOn
	if AtOrAbove(d.Findings, failOn) > 0 {
		d.Verdict = Held
	}
	for _, p := range d.Phases.List() {
		if p.Status == Failed {
			d.Verdict = Unknown
		}
	}
}

// AtOrAbove counts the findings that weigh at least as much as failOn.
func AtOrAbove(findings []slo.Finding, failOn slo.Severity) int {
	n := 0
	for _, f := range findings {
		if f.Severity <= failOn {
			n++
		}
	}
	return n
}
