package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/slo"
)

// verifySettings is what the flags of verify say.
type verifySettings struct {
	read *readSettings
	past *backtestSettings // what to replay, and the incidents in it

	prometheus   string   // file or URL; found in the tree where empty
	alertmanager string   // likewise
	rules        []string // globs of rule files; those of prometheus.yml where empty
	datadog      []string // files or directories of exports
	live         bool     // ask the running services too
	provePage    bool     // send test alerts to the Alertmanager

	base        string // git revision to compare with
	maxSeries   int
	maxNewPages int
	minRecall   float64
	maxDrift    float64
	failOn      slo.Severity
}

// none switches a gate off that is a number from zero up.
const none = -1

func newVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Run all phases and give a verdict",
		Long: `verify is the gate before a deploy. It reads topology and contract, generates the rules, compares them with what is
deployed, proves that each alert can fire, forecasts the series that it all takes, and shows who is told. With a history
it replays the alerts, and with a git revision it says which pages and incidents a change gains and loses.
It writes one report: phases with their figures, checks with numerator and denominator, findings, verdict.
What was not checked says skipped and why, and never counts as passed.
Exit status: 0 validated, 1 findings at or above --fail-on, 2 could not run.`,
		Example: `  slowburn verify
  slowburn verify --history prometheus/data --incidents incidents.csv
  slowburn verify --base origin/main --history data --max-new-pages 0 -o markdown > comment.md
  slowburn verify --fail-on warning -o sarif > slowburn.sarif`,
		Args: cobra.MaximumNArgs(1),
	}
	s := &verifySettings{read: addReadFlags(cmd)}
	s.past = &backtestSettings{read: s.read}
	s.past.addHistoryFlags(cmd)
	s.addFlags(cmd)
	failOn := addFailOn(cmd)
	addOutput(cmd, "table", "json", "yaml", "markdown", "sarif", "junit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, form, err := begin(cmd, args, s.read)
		if err != nil {
			return err
		}
		if err := s.settle(*failOn); err != nil {
			return err
		}
		return s.run(cmd, dir, form)
	}
	return cmd
}

func (s *verifySettings) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.prometheus, "prometheus", "", "prometheus.yml or the URL of a running Prometheus (default: prometheus.yml in DIR)")
	f.StringVar(&s.alertmanager, "alertmanager", "", "alertmanager.yml or the URL of a running Alertmanager (default: alertmanager.yml in DIR)")
	f.StringSliceVar(&s.rules, "rules", nil, "rule files that are deployed, as globs (default: those that prometheus.yml names)")
	f.StringSliceVar(&s.datadog, "datadog", nil, "Datadog exports: JSON files, or directories of them (default: datadog in DIR)")
	f.BoolVar(&s.live, "live", false, "ask the running Compose services which objectives they hold; one that does not answer is drift")
	f.BoolVar(&s.provePage, "prove-page", false, "send the Alertmanager of --alertmanager URL one marked test alert for each SLO, read it back and resolve it")
	f.StringVar(&s.base, "base", "", "git revision to compare the alerts with, such as origin/main; nothing is checked out")
	f.IntVar(&s.maxSeries, "max-series", 1_000_000, "series that the Prometheus may hold")
	f.IntVar(&s.maxNewPages, "max-new-pages", none, "with --base: pages over the history that the change may bring; -1 for any")
	f.Float64Var(&s.minRecall, "min-recall", none, "share of the incidents in the history that the alerts must find, such as 0.9; -1 for any")
	f.Float64Var(&s.maxDrift, "max-drift", none, "share of compared facts that may differ, such as 0.05; -1 for any")
}

// settle checks what the flags say; it reports all faults.
func (s *verifySettings) settle(failOn string) (err error) {
	var faults []error
	if s.failOn, err = slo.ParseSeverity(failOn); err != nil {
		faults = append(faults, fmt.Errorf("--fail-on: %w", err))
	}
	if _, err := s.read.defaultPolicy(); err != nil {
		faults = append(faults, err)
	}
	if s.maxSeries < 1 {
		faults = append(faults, fmt.Errorf("--max-series %d is below 1", s.maxSeries))
	}
	for _, gate := range []struct {
		flag  string
		value float64
	}{{"--min-recall", s.minRecall}, {"--max-drift", s.maxDrift}} {
		if gate.value != none && !(gate.value >= 0 && gate.value <= 1) {
			faults = append(faults, fmt.Errorf("%s %g is outside 0 to 1", gate.flag, gate.value))
		}
	}
	if s.maxNewPages < none {
		faults = append(faults, fmt.Errorf("--max-new-pages %d is below 0", s.maxNewPages))
	}
	if s.maxNewPages != none && s.base == "" {
		faults = append(faults, errors.New("--max-new-pages needs --base: new beside what?"))
	}
	if s.provePage && !isServer(s.alertmanager) {
		faults = append(faults, errors.New("--prove-page needs the URL of an Alertmanager: --alertmanager http://…"))
	}
	for flag, file := range map[string]string{"--prometheus": s.prometheus, "--alertmanager": s.alertmanager} {
		if _, err := os.Stat(file); file != "" && !isServer(file) && err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", flag, err))
		}
	}
	if s.past.history == "" {
		faults = append(faults, s.needHistory()...)
	}
	return errors.Join(append(faults, s.past.settle())...)
}

// needHistory names the gates that can't be judged without one, rather than letting everything through them.
func (s *verifySettings) needHistory() []error {
	var faults []error
	for _, flag := range []struct {
		name string
		set  bool
	}{{"--incidents", s.past.incidents != ""}, {"--infer", s.past.infer != ""}, {"--min-recall", s.minRecall != none}, {"--max-new-pages", s.maxNewPages != none}} {
		if flag.set {
			faults = append(faults, fmt.Errorf("%s needs --history", flag.name))
		}
	}
	return faults
}

func (s *verifySettings) run(cmd *cobra.Command, dir, form string) (err error) {
	v, err := newVerification(cmd.Context(), dir, s, time.Now(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	doc := v.run(cmd.Context())
	doc.Judge(s.failOn)
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

func writeVerification(w io.Writer, form string, doc *report.Document) error {
	switch form {
	case "table":
		t := text(w)
		t.Width = columns(w)
		t.Document(doc)
		return nil
	case "markdown":
		return report.WriteMarkdown(w, doc)
	case "sarif":
		return report.WriteSARIF(w, doc.Findings, version)
	case "junit":
		return report.WriteJUnit(w, doc)
	}
	return writeAs(w, form, doc)
}

// columns is how wide a terminal is; zero where w is none, and lines may be as long as they are.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
