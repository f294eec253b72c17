// Package drift compares what the contracts say with what is deployed, by meaning and not by text: rule files,
// Prometheus and Alertmanager configuration, what the running ones have loaded, and the exports of other SLO
// tools. It changes nothing, replays nothing and decides no deploy.
package drift

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/slowburn/slowburn/slo"
)

// Verdict says how one fact of the contract stands against what is deployed. The zero value is Unchecked, so
// that nothing passes by omission.
type Verdict int

// What could not be checked is never counted as same, nor is it drift.
const (
	Unchecked        Verdict = iota // the other side can't be read or asked; the fact's Got says why
	Same                            // both mean the same
	Differs                         // both are there and mean different things
	Missing                         // the contract says it, nothing deployed does
	Orphan                          // deployed, and no contract says it
	NotRepresentable                // the other tool can't hold it; not drift
)

// String names the verdict as reports spell it.
func (v Verdict) String() string {
	switch v {
	case Unchecked:
		return "unchecked"
	case Same:
		return "same"
	case Differs:
		return "differs"
	case Missing:
		return "missing"
	case Orphan:
		return "orphan"
	case NotRepresentable:
		return "not representable"
	}
	panic(fmt.Sprintf("drift: verdict %d", int(v)))
}

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Compared reports whether a fact with this verdict stands in the denominator of config_drift.
func (v Verdict) Compared() bool { return v == Same || v.Drifts() }

// Drifts reports whether a fact with this verdict stands in the numerator of config_drift.
func (v Verdict) Drifts() bool { return v == Differs || v == Missing || v == Orphan }

// Contract is the side of the sources: what every comparison starts from.
type Contract struct {
	Objectives []slo.Objective     // settled, as rulegen.Resolve returns them
	Groups     *rulefmt.RuleGroups // the rules that they become
	Services   []Service           // what Compose runs
}

// Service is one Compose service, by the name its series and contracts carry.
type Service struct {
	Name    string
	Pos     slo.Position
	Targets []string // host:port of its metrics, as seen inside the Compose network and from the host
}

// Fact is one thing that was compared. Code is its place in the contract's sources, There its place in what is
// deployed: a file, or a URL in File with no line. For an orphan Code is empty, for a missing fact There may
// name the file in which it was looked for.
type Fact struct {
	Against string       `json:"against"` // the artefact: prometheus, alertmanager, datadog, openslo, sloth, pyrra, compose, runtime
	Subject string       `json:"subject"` // what was compared, such as "threshold of the fast tier"
	Service string       `json:"service,omitempty"`
	SLO     string       `json:"slo,omitempty"`
	Tier    string       `json:"tier,omitempty"`
	Tenant  string       `json:"tenant,omitempty"`
	Verdict Verdict      `json:"verdict"`
	Want    string       `json:"want,omitempty"` // what the contract says, with its unit
	Got     string       `json:"got,omitempty"`  // what is deployed, with its unit; or why it can't be told
	Code    slo.Position `json:"code,omitzero"`
	There   slo.Position `json:"there,omitzero"`

	Rule     string       `json:"rule,omitempty"` // id of the finding; empty for what needs none
	Severity slo.Severity `json:"-"`
	Remedy   string       `json:"-"`
}

// Report is all that was compared. Findings holds what is not a comparison: files that can't be read, and
// faults of the deployed configuration in itself.
type Report struct {
	Facts    []Fact
	Findings []slo.Finding
}

// Join puts reports one after another.
func Join(reports ...Report) Report {
	var all Report
	for _, r := range reports {
		all.Facts = append(all.Facts, r.Facts...)
		all.Findings = append(all.Findings, r.Findings...)
	}
	return all
}

// Share counts the facts that drift, and all that could be compared.
func (r Report) Share() (drifting, compared int) {
	for _, f := range r.Facts {
		if f.Verdict.Drifts() {
			drifting++
		}
		if f.Verdict.Compared() {
			compared++
		}
	}
	return drifting, compared
}

// AllFindings gives the report's own findings and one for each fact that carries a rule and is not the same,
// in the order of slo.SortFindings.
func (r Report) AllFindings() []slo.Finding {
	findings := slices.Clone(r.Findings)
	for _, f := range r.Facts {
		if f.Rule != "" && f.Verdict != Same {
			findings = append(findings, f.Finding())
		}
	}
	slo.SortFindings(findings)
	return findings
}

// Finding words the fact for a person: at the deployed place where there is one, with the contract's as related.
func (f Fact) Finding() slo.Finding {
	pos, related := f.There, []slo.Position(nil)
	switch {
	case pos.File == "":
		pos = f.Code
	case f.Code.File != "":
		related = []slo.Position{f.Code}
	}
	return slo.Finding{Rule: f.Rule, Severity: f.Severity, Pos: pos, Message: f.message(), Remedy: f.Remedy, Related: related}
}

func (f Fact) message() string {
	subject := f.Subject
	if f.Service != "" {
		subject = fmt.Sprintf("%s/%s: %s", f.Service, cmp.Or(f.SLO, "*"), subject)
	}
	switch f.Verdict {
	case Same, Differs:
		return fmt.Sprintf("%s is %s there, the contract says %s", subject, f.Got, f.Want)
	case Missing:
		return fmt.Sprintf("%s is missing there, the contract says %s", subject, f.Want)
	case Orphan:
		return fmt.Sprintf("%s is there (%s), and no contract says so", subject, f.Got)
	case NotRepresentable:
		return fmt.Sprintf("%s can't be represented there: %s; the contract says %s", subject, f.Got, f.Want)
	case Unchecked:
		return fmt.Sprintf("%s is not checked: %s", subject, f.Got)
	}
	panic(fmt.Sprintf("drift: verdict %d", int(f.Verdict)))
}
