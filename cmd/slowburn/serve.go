package main

import (
	"errors"
	"fmt"
	"net"
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
	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/scrape"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/web"
)

// serveSettings is what flags say of serving.
type serveSettings struct {
	read           *readSettings
	dataDir        string
	listen         string
	externalURL    string
	webConfig      string
	alertmanagers  []string
	alertingConfig string
	remoteWrite    string
	receiver       bool
	pprof          bool
	push, unproven string
	judgeInterval  time.Duration
	judgeAfter     string
	maxPages       float64
	watch          bool
	query          web.Limits
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
It answers Prometheus's API on --listen, with metrics on /metrics. SIGHUP, POST /-/reload or, with --watch, a change of
the sources reads everything anew; where anything in it is wrong, the old state stays. SIGTERM ends it in this order:
scraping, evaluation, delivery (drains), web, database.

Each generated alert is back-tested for each tenant on the samples gathered so far. What would page for nothing is held:
evaluated and shown, but not sent. What there is too little history to tell of is sent, marked by the annotation
slowburn_verdict. An alert that has been sent is sent until its end, whatever its verdict becomes meanwhile.`,
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
	f.StringVar(&s.alertingConfig, "alertmanager-config", "", "file with Prometheus's alerting section: Alertmanagers with TLS and authentication, relabelling; external labels")
	f.StringVar(&s.remoteWrite, "remote-write-config", "", "file with Prometheus's remote_write section: other databases that get all samples; external labels")
	f.BoolVar(&s.receiver, "web.enable-remote-write-receiver", false, "take samples that others send to /api/v1/write")
	f.BoolVar(&s.pprof, "pprof", false, "answer Go profiles under /debug/pprof/")
	f.StringVar(&s.push, "push", "validated", "which alerts are sent: validated, or all (those that history speaks against, too)")
	f.StringVar(&s.unproven, "unproven", "push", "what to do with alerts that there is too little history to judge: push or hold")
	f.DurationVar(&s.judgeInterval, "judge-interval", defaultJudgeInterval, "how often alerts are judged on the history gathered so far")
	f.StringVar(&s.judgeAfter, "judge-after", "7d", "how much history with events a tenant needs before its alerts are judged")
	f.Float64Var(&s.maxPages, "max-pages", backtest.DefaultMaxPages, "pages a week and tenant, outside incidents, from which an alert is held")
	f.BoolVar(&s.watch, "watch", false, "reload when the sources change")
	f.DurationVar(&s.query.Timeout, "query-timeout", web.DefaultTimeout, "how long one query of the API may wait and run")
	f.IntVar(&s.query.Samples, "query-max-samples", web.DefaultSamples, "samples one query of the API may hold")
	f.IntVar(&s.query.Concurrency, "query-max-concurrency", 0, "queries of the API that run at once; rules have their own (default: the number of processors, 2 to 4)")
	f.StringVar(&s.scrapeConfig, "scrape-config", "", "file with Prometheus scrape_configs, instead of the Compose targets")
	f.StringSliceVar(&s.ruleFiles, "rule-file", nil, "Prometheus rule files to evaluate as they are, beside the generated rules; a glob is read anew on each reload")
	f.StringVar(&s.retention, "retention", "40d", "how long samples are kept; more than the longest SLO window")
	f.DurationVar(&s.scrapeInterval, "scrape-interval", 15*time.Second, "how often Compose targets are scraped")
	f.DurationVar(&s.evalInterval, "evaluation-interval", 30*time.Second, "how often rules are evaluated, where their group does not say")
	f.DurationVar(&s.resend, "resend-delay", time.Minute, "how often a firing alert is sent again")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return serve(cmd, args, s) }
	return cmd
}

func serve(cmd *cobra.Command, args []string, s *serveSettings) error {
	dir, _, err := begin(cmd, args, s.read)
	if err != nil {
		return err
	}
	log := s.read.logger
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
	if s.watch {
		o.sources = sources{dir: dir, files: s.named(), exclude: filepath.Clean(s.dataDir), every: watchEvery}
	}
	w, err := newWatch(o, first)
	if err != nil {
		return err
	}
	log.Info("Watching", "slos", len(first.objectives), "jobs", len(first.scrape.Jobs()), "alertmanagers", len(first.alerting.Endpoints), "listen", w.server.Addr(), "data", o.dataDir)
	if s.webConfig == "" && !loopback(w.server.Addr()) {
		log.Warn("Everybody who reaches this address may ask and reload: give --web-config with authentication, or listen on loopback", "listen", w.server.Addr())
	}
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
	after, err := slo.ParseWindow(s.judgeAfter)
	if err != nil {
		return watchOptions{}, fmt.Errorf("--judge-after: %w", err)
	}
	push, err := parsePush(s.push, s.unproven)
	if err != nil {
		return watchOptions{}, err
	}
	if s.judgeInterval <= 0 || s.query.Timeout <= 0 || s.query.Samples <= 0 || s.query.Concurrency < 0 || !(s.maxPages > 0) {
		return watchOptions{}, errors.New("--judge-interval, --max-pages, --query-timeout and --query-max-samples must be above 0")
	}
	o := watchOptions{
		dataDir: s.dataDir, listen: s.listen, externalURL: s.externalURL, webConfig: s.webConfig,
		retention: retention, interval: s.evalInterval, resend: s.resend, flags: map[string]string{},
		remote: s.remoteWrite != "", receiver: s.receiver, pprof: s.pprof, query: s.query,
		judge: judgeOptions{
			interval: s.judgeInterval, after: after, tick: s.evalInterval, serviceLabel: s.read.serviceLabel, maxPages: s.maxPages, push: push,
		},
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
	if err := s.files(p); err != nil {
		return nil, err
	}
	if s.scrapeConfig != "" {
		p.scrape, err = scrape.Load(s.scrapeConfig)
		return p, err
	}
	p.scrape, err = scrape.Config{}.With(w.scrapeJobs(s.scrapeInterval)...)
	return p, err
}

// watchEvery is how often the sources are looked at. A change is in force after two looks at most.
const watchEvery = 2 * time.Second

// named are the files that flags name.
func (s *serveSettings) named() []string {
	return append([]string{s.scrapeConfig, s.alertingConfig, s.remoteWrite}, s.ruleFiles...)
}

// files reads what the flags name beside the directory into p.
func (s *serveSettings) files(p *plan) (err error) {
	var faults []error
	for _, pattern := range s.ruleFiles {
		found, err := ruleFiles(pattern)
		faults = append(faults, err)
		p.rules.Files = append(p.rules.Files, found...)
	}
	if s.alertingConfig != "" {
		p.alerting, err = alerts.Load(s.alertingConfig)
		faults = append(faults, err)
	}
	for _, url := range s.alertmanagers {
		p.alerting.Endpoints = append(p.alerting.Endpoints, alerts.Endpoint{URL: url})
	}
	if s.remoteWrite != "" {
		p.remote, err = loadRemote(s.remoteWrite)
		if err == nil {
			err = checkRemote(p.remote)
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// ruleFiles are the files that a pattern names. A name without a wildcard must exist.
func ruleFiles(pattern string) ([]string, error) {
	path, err := filepath.Abs(pattern)
	if err != nil {
		return nil, fmt.Errorf("--rule-file: %w", err)
	}
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{path}, nil
	}
	found, err := filepath.Glob(path)
	if err != nil {
		return nil, fmt.Errorf("--rule-file %s: %w", pattern, err)
	}
	return found, nil
}

// loopback says whether only this machine reaches an address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.IsLoopback()
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
