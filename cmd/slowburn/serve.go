package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slowburn/slowburn/alerts"
	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/scrape"
	"github.com/slowburn/slowburn/slo"
)

// serveSettings is what flags say of serving.
type serveSettings struct {
	read           *readSettings
	dataDir        string
	listen         string
	externalURL    string
	webConfig      string
	alertmanagers  []string
	scrapeConfig   string
	ruleFiles      []string
	retention      string
	scrapeInterval time.Duration
	evalInterval   time.Duration
	resend         time.Duration
}

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve [DIR]",
		Short: "Watch the services: scrape, store, evaluate, deliver alerts",
		Long: `serve reads the contracts below DIR, scrapes the services that its Compose files declare, stores the samples in
an embedded Prometheus TSDB, evaluates the generated rules and delivers alerts to every Alertmanager given.
It answers Prometheus's API on --listen, with metrics on /metrics. SIGHUP or POST /-/reload reads everything anew;
where anything in it is wrong, the old state stays. SIGTERM ends it in this order: scraping, evaluation, delivery
(drains), web, database.`,
		Example: `  slowburn serve --alertmanager http://127.0.0.1:9093
  slowburn serve services --data-dir /var/lib/slowburn --listen 127.0.0.1:9469
  slowburn serve --scrape-config prometheus.yml --rule-file extra.rules.yml`,
		Args: cobra.MaximumNArgs(1),
	}
	s := &serveSettings{read: addReadFlags(cmd)}
	f := cmd.Flags()
	f.StringVar(&s.dataDir, "data-dir", "data", "directory of the embedded TSDB and of alerts not delivered yet")
	f.StringVar(&s.listen, "listen", "127.0.0.1:9469", "address to answer HTTP on")
	f.StringVar(&s.externalURL, "external-url", "", "where people reach this slowburn, for links in alerts (default: http://LISTEN)")
	f.StringVar(&s.webConfig, "web-config", "", "exporter-toolkit web configuration: TLS and basic authentication")
	f.StringSliceVar(&s.alertmanagers, "alertmanager", nil, "URL of an Alertmanager; each one given gets every alert")
	f.StringVar(&s.scrapeConfig, "scrape-config", "", "file with Prometheus scrape_configs, instead of the Compose targets")
	f.StringSliceVar(&s.ruleFiles, "rule-file", nil, "Prometheus rule file to evaluate as it is, beside the generated rules")
	f.StringVar(&s.retention, "retention", "40d", "how long samples are kept; more than the longest SLO window")
	f.DurationVar(&s.scrapeInterval, "scrape-interval", 15*time.Second, "how often Compose targets are scraped")
	f.DurationVar(&s.evalInterval, "evaluation-interval", 30*time.Second, "how often rules are evaluated, where their group does not say")
	f.DurationVar(&s.resend, "resend-delay", time.Minute, "how often a firing alert is sent again")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return serve(cmd, args, s) }
	return cmd
}

func serve(cmd *cobra.Command, args []string, s *serveSettings) error {
	dir, err := directory(cmd, args)
	if err != nil {
		return err
	}
	log, err := logger(cmd)
	if err != nil {
		return err
	}
	s.read.logger = log
	o, err := s.options(cmd)
	if err != nil {
		return err
	}
	o.logger = log
	first, err := s.plan(cmd, dir)
	if err != nil {
		return err
	}
	o.reload = func() (*plan, error) { return s.plan(cmd, dir) }
	w, err := newWatch(o, first)
	if err != nil {
		return err
	}
	log.Info("Watching", "slos", len(first.objectives), "jobs", len(first.scrape.Jobs()), "alertmanagers", len(o.alertmanagers), "listen", w.server.Addr(), "data", o.dataDir)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	err = w.run(cmd.Context(), hangups)
	if closeErr := w.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close tsdb %s: %w", o.dataDir, closeErr))
	}
	log.Info("Stopped", "undelivered_alerts", w.sender.Queued())
	return err
}

func (s *serveSettings) options(cmd *cobra.Command) (watchOptions, error) {
	retention, err := slo.ParseWindow(s.retention)
	if err != nil {
		return watchOptions{}, fmt.Errorf("--retention: %w", err)
	}
	if s.scrapeInterval <= 0 || s.evalInterval <= 0 || s.resend <= 0 {
		return watchOptions{}, errors.New("--scrape-interval, --evaluation-interval and --resend-delay must be above 0")
	}
	o := watchOptions{
		dataDir: s.dataDir, listen: s.listen, externalURL: s.externalURL, webConfig: s.webConfig,
		retention: retention, interval: s.evalInterval, resend: s.resend, flags: map[string]string{},
	}
	for _, url := range s.alertmanagers {
		o.alertmanagers = append(o.alertmanagers, alerts.Endpoint{URL: url})
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) { o.flags[f.Name] = redacted(f) })
	return o, nil
}

// redacted keeps passwords in URLs out of the API.
func redacted(f *pflag.Flag) string {
	list, ok := f.Value.(pflag.SliceValue)
	if !ok {
		return f.Value.String()
	}
	var shown strings.Builder
	for i, v := range list.GetSlice() {
		if u, err := url.Parse(v); err == nil && u.User != nil {
			v = u.Redacted()
		}
		if i > 0 {
			shown.WriteString(",")
		}
		shown.WriteString(v)
	}
	return shown.String()
}

// plan reads the directory and the files named by flags. Nothing live is touched.
func (s *serveSettings) plan(cmd *cobra.Command, dir string) (*plan, error) {
	w, err := readWorkspace(cmd.Context(), dir, *s.read)
	if err != nil {
		return nil, err
	}
	text(cmd.ErrOrStderr()).Findings(w.findings)
	if err := w.refused(); err != nil {
		return nil, errUnsound
	}
	p := &plan{objectives: w.objectives, rules: evaluator.Rules{Groups: w.groups}}
	for _, file := range s.ruleFiles {
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("--rule-file: %w", err)
		}
		p.rules.Files = append(p.rules.Files, path)
	}
	if s.scrapeConfig != "" {
		p.scrape, err = scrape.Load(s.scrapeConfig)
		return p, err
	}
	p.scrape, err = scrape.Config{}.With(w.scrapeJobs(s.scrapeInterval)...)
	return p, err
}

// scrapeJobs makes one job per Compose service, with the service's name on all of its series.
func (w *workspace) scrapeJobs(interval time.Duration) []*config.ScrapeConfig {
	var jobs []*config.ScrapeConfig
	for _, service := range w.topology.Services {
		for i, t := range service.Targets {
			name := service.Known()
			if i > 0 {
				name = fmt.Sprintf("%s-%d", name, i+1)
			}
			job := scrape.Static(name, interval, map[string]string{w.settings.scrapeLabel(): service.Known()}, t.Address)
			if t.Path != "" {
				job.MetricsPath = t.Path
			}
			if t.Scheme != "" {
				job.Scheme = t.Scheme
			}
			jobs = append(jobs, job)
		}
	}
	return jobs
}

func (s readSettings) scrapeLabel() string {
	if s.serviceLabel == "-" || s.serviceLabel == "" {
		return "service"
	}
	return s.serviceLabel
}
