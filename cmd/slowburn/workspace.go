package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/spf13/cobra"

	"github.com/slowburn/slowburn/contract"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/topology"
)

// workspace is what the directory says: its services, its contracts, and the rules they become.
type workspace struct {
	dir        string
	settings   readSettings
	topology   *topology.Topology
	engine     *topology.Engine // nil where none was asked
	contract   *contract.Result
	objectives []slo.Objective
	findings   []slo.Finding
	groups     *rulefmt.RuleGroups
	catalog    rulegen.Catalog // what a history or live targets hold; nil where nothing is known
}

// readSettings is what flags say of reading a directory.
type readSettings struct {
	composeFiles []string
	profiles     []string
	policy       string
	tenantLabel  string
	serviceLabel string
	windowScale  float64
	docker       string // a Docker engine to compare with; empty: none
	logger       *slog.Logger
}

func addReadFlags(cmd *cobra.Command) *readSettings {
	s := &readSettings{}
	f := cmd.Flags()
	f.StringSliceVarP(&s.composeFiles, "compose-file", "f", nil, "Compose files, relative to DIR (default: compose.yaml and its kin)")
	f.StringSliceVar(&s.profiles, "profile", nil, "active Compose profiles")
	f.StringVar(&s.policy, "policy", slo.DefaultPolicy().Name, "tiers of contracts that name no policy: default (two that page), sre (and two that open tickets)")
	f.StringVar(&s.tenantLabel, "tenant-label", "", "tenant label of contracts that name none")
	f.StringVar(&s.serviceLabel, "service-label", "service", "label that carries the service on its series; - for none")
	f.StringVar(&s.docker, "docker", "", "Docker engine to compare the Compose files with, such as unix:///var/run/docker.sock; nothing is changed there")
	f.Lookup("docker").NoOptDefVal = topology.DefaultHost
	f.Float64Var(&s.windowScale, "window-scale", 1, "multiply all windows, for demonstrations and tests that can't wait an hour")
	return s
}

// begin settles what every command that reads a directory asks first: which one it is (the argument DIR, the current
// one if there is none) with its slowburn.yaml applied, the form of the result where the command has -o, and the log.
func begin(cmd *cobra.Command, args []string, s *readSettings) (dir, form string, err error) {
	dir = "."
	if len(args) > 0 {
		dir = args[0]
	}
	if err := applySettings(cmd, dir); err != nil {
		return "", "", err
	}
	if form, err = outputForm(cmd); err != nil {
		return "", "", err
	}
	s.logger, err = logger(cmd)
	return dir, form, err
}

func (s readSettings) defaultPolicy() (slo.Policy, error) {
	policy, err := slo.PolicyNamed(s.policy)
	if err != nil {
		return slo.Policy{}, fmt.Errorf("--policy: %w", err)
	}
	if s.windowScale <= 0 || s.windowScale > 100 {
		return slo.Policy{}, fmt.Errorf("--window-scale %g is outside (0, 100]", s.windowScale)
	}
	return policy, nil
}

// readWorkspace runs all three steps. Findings are in the workspace; an error means that a step could not run.
func readWorkspace(ctx context.Context, dir string, s readSettings) (*workspace, error) {
	w := &workspace{dir: dir, settings: s}
	if _, err := s.defaultPolicy(); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{w.readTopology, w.readContract, w.compile} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *workspace) readTopology(ctx context.Context) (err error) {
	w.topology, err = topology.Scan(ctx, w.dir, topology.Options{
		Logger: w.settings.logger, Files: w.settings.composeFiles, Profiles: w.settings.profiles,
	})
	if err != nil {
		return err
	}
	w.findings = append(w.findings, w.topology.Findings...)
	w.readEngine(ctx)
	return nil
}

// readEngine asks the Docker engine, if one is named. An engine that can't be asked is a finding: the
// Compose files say all that the rules need.
func (w *workspace) readEngine(ctx context.Context) {
	if w.settings.docker == "" {
		return
	}
	engine, err := topology.Inspect(ctx, w.settings.docker)
	if err != nil {
		w.findings = append(w.findings, topology.Unreachable(err))
		return
	}
	w.engine = engine
	for _, d := range w.topology.Compare(engine) {
		w.findings = append(w.findings, d.Finding())
	}
}

func (w *workspace) readContract(ctx context.Context) (err error) {
	w.contract, err = contract.Scan(ctx, w.dir, contract.Options{Logger: w.settings.logger})
	if err != nil {
		return err
	}
	policy, err := w.settings.defaultPolicy()
	if err != nil {
		return err
	}
	objectives, findings := w.contract.Objectives(contract.ObjectiveOptions{
		ServiceOf: w.topology.ServiceOf, Policy: policy, TenantLabel: w.settings.tenantLabel,
	})
	for _, o := range objectives {
		w.objectives = append(w.objectives, o.Scale(w.settings.windowScale))
	}
	w.findings = append(w.findings, w.contract.Findings...)
	w.findings = append(w.findings, findings...)
	return nil
}

// compile settles the objectives and writes their rules. What it finds is added; what it refuses is left out.
func (w *workspace) compile(context.Context) (err error) {
	var findings []slo.Finding
	w.objectives, findings = rulegen.Resolve(w.objectives, w.catalog)
	w.findings = append(w.findings, findings...)
	slo.SortFindings(w.findings)
	w.groups, err = rulegen.Compile(w.objectives, w.ruleOptions())
	return err
}

func (w *workspace) ruleOptions() rulegen.Options {
	return rulegen.Options{ServiceLabel: w.settings.serviceLabel}
}

// refused joins the errors among the findings, for commands that can't go on with any.
func (w *workspace) refused() error {
	var faults []error
	for _, f := range w.findings {
		if f.Severity == slo.Error {
			faults = append(faults, errors.New(report.Printable(f.String())))
		}
	}
	return errors.Join(faults...)
}
