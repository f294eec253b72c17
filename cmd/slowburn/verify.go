package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

func newVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Run all phases and give a verdict",
		Long: `verify reads topology and contract, computes thresholds, generates the rules and judges what it found.
It writes one report: phases with their figures, checks with numerator and denominator, findings, verdict.
A check that was not made says skipped and why, and never counts as passed.
Exit status: 0 validated, 1 findings at or above --fail-on, 2 could not run.`,
		Example: `  slowburn verify
  slowburn verify -o json | jq .phase_logs
  slowburn verify --fail-on warning -o sarif > slowburn.sarif`,
		Args: cobra.MaximumNArgs(1),
	}
	settings := addReadFlags(cmd)
	failOn := addFailOn(cmd)
	addOutput(cmd, "table", "json", "yaml", "sarif")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, err := directory(cmd, args)
		if err != nil {
			return err
		}
		form, err := outputForm(cmd)
		if err != nil {
			return err
		}
		bar, err := slo.ParseSeverity(*failOn)
		if err != nil {
			return fmt.Errorf("--fail-on: %w", err)
		}
		if settings.logger, err = logger(cmd); err != nil {
			return err
		}
		if _, err := settings.defaultPolicy(); err != nil {
			return err
		}
		doc := verify(cmd.Context(), dir, *settings, time.Now())
		doc.Judge(bar)
		if err := writeVerification(cmd.OutOrStdout(), form, doc); err != nil {
			return err
		}
		switch doc.Verdict {
		case report.Held:
			return errFindings
		case report.Unknown:
			return fmt.Errorf("verify %s: not all phases ran, see the report", dir)
		}
		return nil
	}
	return cmd
}

func writeVerification(w io.Writer, form string, doc *report.Document) error {
	switch form {
	case "table":
		text(w).Document(doc)
		return nil
	case "sarif":
		return report.WriteSARIF(w, doc.Findings, version)
	}
	return writeAs(w, form, doc)
}

// verify runs the phases one after another; a phase that fails leaves those that need it undone.
func verify(ctx context.Context, dir string, s readSettings, now time.Time) *report.Document {
	w := &workspace{dir: dir, settings: s}
	doc := &report.Document{
		ExecutionID: ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String(),
		Timestamp:   now.UTC(), Version: version, Directory: dir,
	}
	phases := []struct {
		into *report.Phase
		step func(context.Context) error
		tell func(*workspace) (string, map[string]any)
	}{
		{&doc.Phases.Topology, w.readTopology, tellTopology},
		{&doc.Phases.Contract, w.readContract, tellContract},
		{&doc.Phases.BurnRate, w.compile, tellBurnRates},
		{&doc.Phases.Rules, w.parseBack, tellRules},
	}
	broken := ""
	for _, p := range phases {
		if broken != "" {
			*p.into = report.Phase{Status: report.Skipped, Detail: "not run: " + broken}
			continue
		}
		start := time.Now()
		if err := p.step(ctx); err != nil {
			*p.into = report.Phase{Status: report.Failed, Detail: err.Error(), Duration: report.Seconds(time.Since(start))}
			broken = err.Error()
			continue
		}
		detail, figures := p.tell(w)
		*p.into = report.Phase{Status: report.Complete, Detail: detail, Duration: report.Seconds(time.Since(start)), Figures: figures}
	}
	if w.topology != nil && report.AtOrAbove(w.topology.Findings, slo.Error) > 0 {
		doc.Phases.Topology.Status = report.Failed
	}
	doc.Phases.Alertmanager = report.Phase{Status: report.Skipped, Detail: "comparing with a running Alertmanager is not built yet"}
	w.uncovered()
	doc.Findings = orEmpty(w.findings)
	doc.Validation = validate(w)
	return doc
}

func validate(w *workspace) report.Validation {
	v := report.Validation{
		ConfigDrift:              report.Check{Status: report.Skipped, Detail: "comparing with deployed configuration is not built yet"},
		MetricsAvailable:         report.Check{Status: report.Skipped, Detail: "no live targets or history were given to look for the metrics in"},
		AlertCoverage:            report.Check{Status: report.Skipped, Detail: "no services were found"},
		DetectionTimeImprovement: report.Check{Status: report.Skipped, Detail: "replaying deployed rules beside the new ones is not built yet"},
	}
	if w.topology != nil && len(w.topology.Services) > 0 {
		covered := 0
		for _, s := range w.topology.Services {
			if w.covers(s.Known()) {
				covered++
			}
		}
		v.AlertCoverage = report.Share(covered, len(w.topology.Services), "Compose services with a burn-rate alert; routes and receivers are not compared yet")
	}
	return v
}

func (w *workspace) covers(service string) bool {
	return slices.ContainsFunc(w.objectives, func(o slo.Objective) bool { return o.Service == service })
}

// RuleUncovered is the finding for a service that promises nothing.
const ruleUncovered = "SB062"

// uncovered notes services without a contract: absence is a state, not a pass.
func (w *workspace) uncovered() {
	if w.topology == nil {
		return
	}
	for _, s := range w.topology.Services {
		if !w.covers(s.Known()) {
			w.findings = append(w.findings, slo.Finding{
				Rule: ruleUncovered, Severity: slo.Note, Pos: s.Pos,
				Message: fmt.Sprintf("service %s declares no SLO, so nobody is told when it fails", s.Known()),
				Remedy:  "declare one in its sources, see slowburn scan --help",
			})
		}
	}
	slo.SortFindings(w.findings)
}

// parseBack reads the rule file that would be written, as Prometheus would.
func (w *workspace) parseBack(context.Context) error {
	return rulegen.WriteRules(io.Discard, w.groups)
}

func tellTopology(w *workspace) (string, map[string]any) {
	versions := map[string]int{}
	targets := 0
	for _, s := range w.topology.Services {
		versions[strings.TrimSpace(s.Runtime.Name+" "+s.Runtime.Version)] += max(1, s.Replicas)
		targets += len(s.Targets)
	}
	containers := 0
	var runtimes []string
	for version, n := range versions {
		containers += n
		if version != "" {
			runtimes = append(runtimes, version)
		}
	}
	slices.Sort(runtimes)
	detail := fmt.Sprintf("%s in %s, running %s", report.Count(containers, "service container"), report.Count(len(w.topology.Files), "Compose file"), orNone(runtimes))
	figures := map[string]any{
		"compose_files": len(w.topology.Files), "services": len(w.topology.Services), "service_containers": containers,
		"runtime_versions": versions, "scrape_targets": targets,
	}
	if w.engine != nil {
		running := 0
		for _, c := range w.engine.Containers {
			if c.Running() {
				running++
			}
		}
		figures["docker_engine"], figures["running_containers"] = w.engine.Version, running
		detail += fmt.Sprintf("; Docker %s runs %s", w.engine.Version, report.Count(running, "container"))
	}
	return detail, figures
}

func tellContract(w *workspace) (string, map[string]any) {
	targets := map[string]string{}
	var list []string
	for _, o := range w.objectives {
		targets[o.ID()] = o.Target.String()
		list = append(list, o.Service+" "+o.Target.String())
	}
	detail := fmt.Sprintf("%s of %s over %s: %s", report.Count(len(w.contract.Declarations), "declaration"),
		report.Count(len(w.objectives), "SLO"), report.Count(services(w.objectives), "service"), orNone(list))
	return detail, map[string]any{
		"declarations": len(w.contract.Declarations), "slos": len(w.objectives), "services": services(w.objectives),
		"targets": targets, "source_files": w.contract.Stats.Files, "parsed_files": w.contract.Stats.Parsed,
	}
}

func tellBurnRates(w *workspace) (string, map[string]any) {
	windows := map[time.Duration]bool{}
	tiers := 0
	for _, o := range w.objectives {
		tiers += len(o.Policy.Tiers)
		for _, d := range append(o.Policy.Windows(), o.Record...) {
			windows[d] = true
		}
	}
	var sorted []time.Duration
	for d := range windows {
		sorted = append(sorted, d)
	}
	slices.Sort(sorted)
	names := []string{}
	for _, d := range sorted {
		names = append(names, slo.FormatWindow(d))
	}
	detail := fmt.Sprintf("windows %s for %s; thresholds computed, not yet replayed on history", orNone(names), report.Count(tiers, "tier"))
	return detail, map[string]any{"windows": names, "tiers": tiers, "slos": scannedSLOs(w.objectives), "replayed_on_history": false}
}

func tellRules(w *workspace) (string, map[string]any) {
	burn, other, alerts := 0, 0, 0
	for _, g := range w.groups.Groups {
		for _, r := range g.Rules {
			switch {
			case r.Alert != "":
				alerts++
			case strings.HasPrefix(r.Record, rulegen.BurnRateMetric):
				burn++
			default:
				other++
			}
		}
	}
	detail := fmt.Sprintf("%s, %s for guards and budgets, %s in %s; all parse as Prometheus rules",
		report.Count(burn, "burn-rate recording rule"), strconv.Itoa(other), report.Count(alerts, "alert"), report.Count(len(w.groups.Groups), "group"))
	return detail, map[string]any{"groups": len(w.groups.Groups), "recording_rules": burn, "other_recording_rules": other, "alerting_rules": alerts}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
