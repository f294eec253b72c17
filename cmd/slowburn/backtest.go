package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/tsdb"
)

// backtestSettings is what the flags of backtest say.
type backtestSettings struct {
	read       *readSettings
	history    string
	remote     remoteSettings
	incidents  string
	where      []string
	against    string
	emitTests  string
	inject     bool
	infer      string
	start, end string
	plot       plotSettings
	options    backtest.Options
}

func newBacktest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backtest [DIR]",
		Short: "Try the thresholds on history",
		Long: `backtest replays the alerts that the SLOs below DIR become over a history: a directory of Prometheus blocks, an
OpenMetrics file (also .gz), or a server that is asked by URL (Prometheus, Thanos, Mimir, VictoriaMetrics). It says how
often they would have paged, which incidents they would have found and how fast, and whether each alert is fit to page: validated, or held with the reason.

Incidents are a CSV file whose first line names the columns: service, start and end (Unix seconds or RFC 3339), and if
known tenant and slo. Firings outside all of them are unlabelled; with --labels-complete they are false.
Exit status: 0 all alerts are validated, 1 one is held, 2 could not run.`,
		Example: `  slowburn backtest --history prometheus/data --incidents incidents.csv
  slowburn backtest --history metrics.om.gz --infer 1% --search   # no list of incidents at hand
  slowburn backtest --history data --incidents incidents.csv --against old.rules.yml`,
		Args: cobra.MaximumNArgs(1),
	}
	s := &backtestSettings{read: addReadFlags(cmd)}
	s.addFlags(cmd)
	addOutput(cmd, "table", "json", "markdown")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, form, err := begin(cmd, args, s.read)
		if err != nil {
			return err
		}
		return s.run(cmd, dir, form)
	}
	return cmd
}

func (s *backtestSettings) addFlags(cmd *cobra.Command) {
	s.addHistoryFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&s.options.Search, "search", false, "score other factors, holds and windows too, and propose a change")
	f.BoolVar(&s.inject, "inject", false, "put outages onto the history, to prove that each alert can fire, and how fast")
	f.StringVar(&s.against, "against", "", "rule file to replay beside, such as the one deployed")
	f.StringVar(&s.emitTests, "emit-tests", "", "write a promtool test of each incident and unlabelled firing into this directory")
	s.plot.addFlags(cmd)
	if err := cmd.MarkFlagRequired("history"); err != nil {
		panic(err) // the flag is there: it was added above
	}
}

// addHistoryFlags adds what says what to replay and which incidents it holds: verify has these too.
func (s *backtestSettings) addHistoryFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.history, "history", "", "what to replay: a directory of Prometheus blocks, an OpenMetrics file, or the URL of a server that speaks remote read or the query API")
	s.remote.addFlags(cmd)
	f.StringVar(&s.incidents, "incidents", "", "CSV file of known incidents")
	f.StringSliceVar(&s.where, "where", nil, "keep the incidents whose column has a value, such as kind=availability")
	f.BoolVar(&s.options.LabelsComplete, "labels-complete", false, "the incidents are all there were: what pages outside them is false")
	f.StringVar(&s.infer, "infer", "", "take periods that spent at least this share of the budget for incidents, such as 1%")
	f.Float64Var(&s.options.MaxPages, "max-pages", backtest.DefaultMaxPages, "pages a week and tenant, outside incidents, from which a rule is held")
	f.DurationVar(&s.options.Interval, "interval", time.Minute, "evaluation interval of the rules")
	f.StringVar(&s.start, "start", "", "replay from this time on, Unix seconds or RFC 3339")
	f.StringVar(&s.end, "end", "", "replay up to this time")
}

func (s *backtestSettings) run(cmd *cobra.Command, dir, form string) error {
	ctx := cmd.Context()
	if err := s.settle(); err != nil {
		return err
	}
	history, err := s.openFor(ctx, &workspace{dir: dir, settings: *s.read}, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer history.Close()
	objectives, err := s.objectives(cmd, dir, history)
	if err != nil {
		return err
	}
	progress := startProgress(cmd.ErrOrStderr())
	s.options.Progress, s.options.Logger, s.options.ServiceLabel = progress.update, demoted(s.read.logger), s.read.serviceLabel
	result, err := s.test(ctx, objectives, history)
	progress.finish()
	if err != nil {
		return err
	}
	result.Notes = slices.Concat(history.Damaged(), history.Notes(), result.Notes)
	if err := s.plot.draw(ctx, text(cmd.ErrOrStderr()), history, result, s.options); err != nil {
		return err
	}
	if err := writeBacktest(cmd.OutOrStdout(), form, dir, result); err != nil {
		return err
	}
	if result.Verdict == backtest.Held {
		return errFindings
	}
	return nil
}

// test runs all that was asked for.
func (s *backtestSettings) test(ctx context.Context, objectives []slo.Objective, history *tsdb.History) (*backtest.Result, error) {
	result, err := backtest.Run(ctx, objectives, history, s.options)
	if errors.Is(err, backtest.ErrNoHistory) {
		return nil, fmt.Errorf("%s: %w", s.history, err)
	}
	if err != nil {
		return nil, err
	}
	if s.inject {
		var notes []string
		if result.Injected, notes, err = backtest.Inject(ctx, objectives, history, backtest.Injection{}, s.options); err != nil {
			return nil, err
		}
		result.Notes = append(result.Notes, notes...)
	}
	if s.against != "" {
		groups, err := readRival(s.against, demoted(s.read.logger))
		if err != nil {
			return nil, err
		}
		if err := result.Against(ctx, history, groups, s.against, tenantLabelOf(objectives), s.options); err != nil {
			return nil, err
		}
	}
	if s.emitTests != "" {
		err = s.writeTests(ctx, history, result)
	}
	return result, err
}

// writeTests fills the directory of --emit-tests; files of the same names are replaced.
func (s *backtestSettings) writeTests(ctx context.Context, history *tsdb.History, result *backtest.Result) error {
	files, notes, err := result.Tests(ctx, history, s.options)
	if err != nil {
		return fmt.Errorf("cut tests: %w", err)
	}
	result.Notes = append(result.Notes, notes...)
	if err := os.MkdirAll(s.emitTests, 0o755); err != nil {
		return fmt.Errorf("--emit-tests: %w", err)
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(s.emitTests, f.Name), f.Content); err != nil {
			return err
		}
	}
	return nil
}

// tenantLabelOf is the label that most objectives know tenants by.
func tenantLabelOf(objectives []slo.Objective) string {
	for _, o := range objectives {
		if o.Tenant.Label != "" {
			return o.Tenant.Label
		}
	}
	return "tenant"
}

// settle reads what the flags spell, and the incidents; it reports all faults.
func (s *backtestSettings) settle() error {
	var faults []error
	for _, one := range []struct {
		flag, text string
		to         *time.Time
	}{{"--start", s.start, &s.options.Start}, {"--end", s.end, &s.options.End}} {
		if one.text == "" {
			continue
		}
		var err error
		if *one.to, err = backtest.ParseTime(one.text); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", one.flag, err))
		}
	}
	if !s.options.End.IsZero() && !s.options.Start.Before(s.options.End) {
		faults = append(faults, fmt.Errorf("--start %s is not before --end %s", s.start, s.end))
	}
	if s.infer != "" {
		faults = append(faults, s.settleInfer())
	}
	if s.options.Interval < time.Second || s.options.Interval > time.Hour {
		faults = append(faults, fmt.Errorf("--interval %s is outside 1s to 1h", s.options.Interval))
	}
	if s.options.MaxPages <= 0 || math.IsNaN(s.options.MaxPages) {
		faults = append(faults, fmt.Errorf("--max-pages %g is not above 0", s.options.MaxPages))
	}
	return errors.Join(append(faults, s.plot.settle(), s.readIncidents())...)
}

func (s *backtestSettings) settleInfer() error {
	text, percent := strings.CutSuffix(s.infer, "%")
	var f float64
	if _, err := fmt.Sscanf(text+" ", "%g ", &f); err != nil {
		return fmt.Errorf("--infer %q is no share of the budget: write 1%%", s.infer)
	}
	if percent {
		f /= 100
	}
	if !(f > 0 && f <= 1) {
		return fmt.Errorf("--infer %q is outside (0%%, 100%%]", s.infer)
	}
	s.options.Infer = f
	return nil
}

func (s *backtestSettings) readIncidents() error {
	if s.incidents == "" {
		return nil
	}
	f, err := os.Open(s.incidents)
	if err != nil {
		return fmt.Errorf("read incidents: %w", err)
	}
	defer f.Close()
	if s.options.Incidents, err = backtest.ReadIncidents(io.LimitReader(f, 64<<20), s.incidents); err != nil {
		return err
	}
	for _, where := range s.where {
		column, value, ok := strings.Cut(where, "=")
		if !ok {
			return fmt.Errorf("--where %q: write column=value", where)
		}
		s.options.Incidents = backtest.Where(s.options.Incidents, strings.ToLower(column), value)
	}
	return nil
}

// objectives reads the contracts and settles them by what the history knows.
func (s *backtestSettings) objectives(cmd *cobra.Command, dir string, h *tsdb.History) ([]slo.Objective, error) {
	w := &workspace{dir: dir, settings: *s.read}
	if _, err := s.read.defaultPolicy(); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{w.readTopology, w.readContract} {
		if err := step(cmd.Context()); err != nil {
			return nil, err
		}
	}
	catalog, err := catalogOf(cmd.Context(), h)
	if err != nil {
		return nil, err
	}
	objectives, findings := rulegen.Resolve(w.objectives, catalog)
	w.findings = append(w.findings, findings...)
	slo.SortFindings(w.findings)
	w.findings = slices.DeleteFunc(w.findings, func(f slo.Finding) bool { return f.Severity == slo.Note })
	text(cmd.ErrOrStderr()).Findings(w.findings)
	if err := w.refused(); err != nil {
		return nil, errUnsound
	}
	if len(objectives) == 0 {
		return nil, fmt.Errorf("no SLO is declared below %s: see slowburn scan --help", dir)
	}
	return objectives, nil
}

// catalogOf lists the metrics of a history with their labels.
func catalogOf(ctx context.Context, h storage.Queryable) (c rulegen.Catalog, err error) {
	q, err := h.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return nil, fmt.Errorf("list metrics: %w", err)
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	metrics, _, err := q.LabelValues(ctx, labels.MetricName, nil)
	if err != nil {
		return nil, fmt.Errorf("list metrics: %w", err)
	}
	c = rulegen.Catalog{}
	for _, metric := range metrics {
		names, _, err := q.LabelNames(ctx, nil, labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, metric))
		if err != nil {
			return nil, fmt.Errorf("list the labels of %s: %w", metric, err)
		}
		c[metric] = names
	}
	return c, nil
}

// progress shows a bar where a person looks on.
type progress struct{ bar *progressbar.ProgressBar }

func startProgress(w io.Writer) *progress {
	return startBar(w, "replay")
}

func (p *progress) update(done, total int) {
	if p.bar != nil {
		p.bar.ChangeMax(total)
		p.bar.Set(done) //nolint:errcheck // a bar that can't be drawn is no loss
	}
}

func (p *progress) finish() {
	if p.bar != nil {
		p.bar.Finish() //nolint:errcheck // likewise
	}
}

// sourcePatch is the proposal as a change of the source that declares the objective; empty where the source can't be read.
func sourcePatch(dir string, s backtest.SLO) string {
	p := s.Search.Proposed
	if p == nil {
		return ""
	}
	for _, at := range slices.Backward(s.Declared) {
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(at.File)))
		if err != nil {
			continue
		}
		if patch := backtest.Patch(string(content), at, s.Objective, *p); patch != "" {
			return patch
		}
	}
	return ""
}

// held counts the reasons of held alerts, most common first.
func held(r *backtest.Result) [][]report.Cell {
	var rows [][]report.Cell
	for _, s := range r.SLOs {
		byReason := map[string][]string{}
		for _, t := range s.Tenants {
			for _, rule := range t.Rules {
				for _, reason := range rule.Reasons {
					key := rule.Tier + "\x00" + reason
					byReason[key] = append(byReason[key], t.Name)
				}
			}
		}
		for _, key := range slices.Sorted(maps.Keys(byReason)) {
			tier, reason, _ := strings.Cut(key, "\x00")
			tenants := byReason[key]
			who := strings.Join(tenants, ", ")
			if len(tenants) > 3 {
				who = fmt.Sprintf("%s and %d more", strings.Join(tenants[:2], ", "), len(tenants)-2)
			}
			rows = append(rows, report.Cells(s.Service+"/"+s.Name, tier, report.Printable(who), report.Printable(reason)))
		}
	}
	return rows
}
