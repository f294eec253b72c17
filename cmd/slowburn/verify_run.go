package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/drift"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/slo"
)

// verification is one run of verify: what the directory says, what is deployed beside it, and what was measured.
type verification struct {
	*workspace
	set      *verifySettings
	doc      *report.Document
	history  pastSamples // nil where none was given
	present  *inventory  // the series at the history's end; nil likewise
	replayed *backtest.Result
	injected []backtest.Injected
	metrics  report.Check // metrics_available
	deployed deployment
	drift    drift.Report
	routes   []drift.Route
	proved   []string // test alerts that reached somebody
}

// pastSamples is what verify needs of a history.
type pastSamples interface {
	backtest.History
	Damaged() []string
	Notes() []string
	Close() error
}

// errSkip ends a phase for which something was not given.
type errSkip string

func (e errSkip) Error() string { return string(e) }

// newVerification opens what the flags name. What can't be opened is an error: a gate that was asked for is not skipped.
func newVerification(ctx context.Context, dir string, s *verifySettings, now time.Time, stderr io.Writer) (*verification, error) {
	v := &verification{workspace: &workspace{dir: dir, settings: *s.read}, set: s}
	v.doc = &report.Document{
		ExecutionID: ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String(),
		Timestamp:   now.UTC(), Version: version, Directory: dir,
		Drift: []drift.Fact{}, Coverage: []report.Coverage{}, Proofs: []report.Proof{}, Burns: []report.Burn{},
	}
	s.past.options.Logger, s.past.options.ServiceLabel = demoted(s.read.logger), s.read.serviceLabel
	if s.past.history == "" {
		return v, nil
	}
	history, err := s.past.openFor(ctx, &workspace{dir: dir, settings: *s.read}, stderr)
	if err != nil {
		return nil, err
	}
	v.history = history
	if err := v.takeStock(ctx); err != nil {
		return nil, errors.Join(err, v.close())
	}
	return v, nil
}

func (v *verification) close() error {
	if v.history == nil {
		return nil
	}
	return v.history.Close()
}

// phase is one step with the place for its log. A step that needs nothing of the others runs even where one failed.
type phase struct {
	into *report.Phase
	step func(context.Context) error
	tell func() (string, map[string]any)
}

// run runs the phases one after another; a phase that fails leaves those that need it undone.
func (v *verification) run(ctx context.Context) *report.Document {
	p := &v.doc.Phases
	phases := []phase{
		{&p.Topology, v.readTopology, func() (string, map[string]any) { return tellTopology(v.workspace) }},
		{&p.Contract, v.readContract, func() (string, map[string]any) { return tellContract(v.workspace) }},
		{&p.BurnRate, v.burn, v.tellBurnRates},
		{&p.Rules, v.parseBack, func() (string, map[string]any) { return tellRules(v.workspace) }},
		{&p.Deployed, v.compare, v.tellDrift},
		{&p.Alertmanager, v.sync, v.tellRoutes},
		{&p.Proof, v.prove, v.tellProofs},
		{&p.Series, v.forecast, v.tellSeries},
	}
	if v.set.base != "" {
		p.Revision = &report.Phase{}
		phases = append(phases, phase{p.Revision, v.compareRevision, v.tellRevision})
	}
	broken := ""
	for _, one := range phases {
		if broken != "" {
			*one.into = report.Phase{Status: report.Skipped, Detail: "not run: " + broken}
			continue
		}
		if err := one.run(ctx); err != nil {
			broken = err.Error()
		}
	}
	if v.topology != nil && report.AtOrAbove(v.topology.Findings, slo.Error) > 0 {
		p.Topology.Status = report.Failed
	}
	v.conclude()
	slo.SortFindings(v.findings)
	v.doc.Findings = orEmpty(v.findings)
	return v.doc
}

// run runs the phase and logs it. Only a failure is returned.
func (p phase) run(ctx context.Context) error {
	start := time.Now()
	err := p.step(ctx)
	took := report.Seconds(time.Since(start))
	skip := errSkip("")
	switch {
	case errors.As(err, &skip):
		*p.into = report.Phase{Status: report.Skipped, Detail: string(skip), Duration: took}
		return nil
	case err != nil:
		*p.into = report.Phase{Status: report.Failed, Detail: err.Error(), Duration: took}
		return err
	}
	detail, figures := p.tell()
	*p.into = report.Phase{Status: report.Complete, Detail: detail, Duration: took, Figures: figures}
	return nil
}

// conclude draws the checks from what the phases measured, and holds them to the gates.
func (v *verification) conclude() {
	v.findings = append(v.findings, v.drift.AllFindings()...)
	v.doc.Drift = append(v.doc.Drift, v.drift.Facts...)
	v.doc.Validation = report.Validation{
		ConfigDrift:              v.driftCheck(),
		MetricsAvailable:         v.metrics,
		AlertCoverage:            v.coverageCheck(),
		DetectionTimeImprovement: v.detectionCheck(),
	}
	if drift := v.doc.Validation.ConfigDrift.Ratio; v.set.maxDrift != none && (drift == nil || *drift > v.set.maxDrift) {
		text := "nothing was compared, so that --max-drift can't be judged"
		if drift != nil {
			text = fmt.Sprintf("%s of what was compared differs, more than --max-drift %s", slo.FormatPercent(*drift), slo.FormatPercent(v.set.maxDrift))
		}
		v.find("SB122", slo.Error, slo.Position{}, "", "%s", text)
	}
	v.judgeRecall()
	if v.history != nil {
		for _, note := range slices.Concat(v.history.Damaged(), v.history.Notes()) {
			v.find("SB123", slo.Note, slo.Position{}, "", "%s: %s", v.set.past.history, note)
		}
	}
}

// judgeRecall holds the share of incidents found to --min-recall.
func (v *verification) judgeRecall() {
	if v.set.minRecall == none {
		return
	}
	known, found := recallOf(v.replayed)
	switch {
	case known == 0:
		v.find("SB121", slo.Error, slo.Position{}, "name some with --incidents or --infer", "the history holds no known incident, so that --min-recall can't be judged")
	case float64(found) < v.set.minRecall*float64(known):
		v.find("SB121", slo.Error, slo.Position{}, "", "the alerts find %d of %d incidents, less than --min-recall %s", found, known, slo.FormatPercent(v.set.minRecall))
	}
}

// recallOf counts the incidents of a back-test, and those that were found.
func recallOf(r *backtest.Result) (known, found int) {
	if r == nil {
		return 0, 0
	}
	for _, s := range r.SLOs {
		for _, i := range s.Incidents {
			known++
			if i.Detected {
				found++
			}
		}
	}
	return known, found
}

// find adds a finding; an empty remedy is that of the rule.
func (v *verification) find(rule string, severity slo.Severity, at slo.Position, remedy, format string, args ...any) {
	if remedy == "" {
		all := slo.Rules()
		if k := slices.IndexFunc(all, func(r slo.Rule) bool { return r.ID == rule }); k >= 0 {
			remedy = all[k].Remedy
		}
	}
	v.findings = append(v.findings, slo.Finding{Rule: rule, Severity: severity, Pos: at, Message: fmt.Sprintf(format, args...), Remedy: remedy})
}
