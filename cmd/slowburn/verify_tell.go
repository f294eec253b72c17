package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

func (w *workspace) covers(service string) bool {
	return slices.ContainsFunc(w.objectives, func(o slo.Objective) bool { return o.Service == service })
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

// tellThresholds tells what was computed of the contract alone.
func tellThresholds(w *workspace) (string, map[string]any) {
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
	detail := fmt.Sprintf("windows %s for %s", orNone(names), report.Count(tiers, "tier"))
	return detail, map[string]any{"windows": names, "tiers": tiers, "slos": scannedSLOs(w.objectives)}
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
