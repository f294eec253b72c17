package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/slowburn/slowburn/alerts"
	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/scrape"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/tsdb"
	"github.com/slowburn/slowburn/web"
)

// watchOptions is what a watch needs beside its plan.
type watchOptions struct {
	dataDir     string
	listen      string
	externalURL string
	webConfig   string
	retention   time.Duration
	interval    time.Duration // of rule evaluation
	resend      time.Duration
	judge       judgeOptions
	remote      bool // there may be remote_write
	receiver    bool // answer remote_write of others
	pprof       bool
	query       web.Limits
	sources     sources // watched for changes, if every is above 0
	flags       map[string]string
	logger      *slog.Logger
	reload      func() (*plan, error) // nil: no reload
}

// plan is what a watch does, and what a reload replaces as a whole.
type plan struct {
	rules      evaluator.Rules
	objectives []slo.Objective
	scrape     scrape.Config
	alerting   alerts.Config
	remote     *config.Config // its remote_write section; nil where watchOptions.remote is false
}

// watch is the live pipe: scraper, database, evaluator, sender and web, made of one plan.
type watch struct {
	o        watchOptions
	db       *tsdb.DB
	scraper  *scrape.Scraper
	eval     *evaluator.Evaluator
	sender   *alerts.Sender
	judge    *judge
	gate     *gate
	clock    *clockwork
	remote   *remote.Storage // nil where nothing is written elsewhere
	server   *web.Server
	exporter *web.Exporter
	registry *prometheus.Registry
	started  time.Time

	reloading sync.Mutex           // one reload at a time
	current   atomic.Pointer[plan] // what is in force
	loaded    *loaded
}

// newWatch opens all that can fail to open: first the port, then the data directory. Close it when done.
func newWatch(o watchOptions, p *plan) (_ *watch, err error) {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", o.listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: choose another address with --listen", o.listen, err)
	}
	defer func() {
		if err != nil {
			ln.Close() //nolint:errcheck // the first error says more
		}
	}()
	if o.externalURL == "" {
		o.externalURL = "http://" + ln.Addr().String()
	}
	external, err := url.Parse(o.externalURL)
	if err != nil {
		return nil, fmt.Errorf("--external-url: %w", err)
	}
	w := &watch{o: o, registry: prometheus.NewRegistry(), started: time.Now()}
	w.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	w.db, err = tsdb.Open(o.dataDir, tsdb.Options{Logger: demoted(o.logger).With("component", "tsdb"), Registerer: w.registry, Retention: o.retention})
	if err != nil {
		return nil, err
	}
	if err := w.build(ln, external, p); err != nil {
		w.Close() //nolint:errcheck // the first error says more
		return nil, err
	}
	return w, nil
}

// build makes the components over the open database.
func (w *watch) build(ln net.Listener, external *url.URL, p *plan) (err error) {
	o := w.o
	if w.loaded, err = newLoaded(w.registry); err != nil {
		return err
	}
	w.openRemote()
	samples := w.samples()
	if w.sender, err = alerts.New(p.alerting, alerts.Options{
		Logger: o.logger.With("component", "alerts"), Registerer: w.registry,
		Dir: filepath.Join(o.dataDir, "outbox"), ExternalURL: o.externalURL,
	}); err != nil {
		return err
	}
	judging := o.judge.withDefaults()
	judging.file, judging.now, judging.logger = filepath.Join(o.dataDir, verdictFile), time.Now, o.logger.With("component", "judge")
	w.judge = newJudge(embedded{w.db}, judging)
	if w.gate, err = newGate(w.judge, w.sender, w.registry, o.logger.With("component", "judge")); err != nil {
		return err
	}
	if w.scraper, err = scrape.New(samples, scrape.Options{Logger: demoted(o.logger).With("component", "scrape"), Registerer: w.registry}); err != nil {
		return err
	}
	if w.clock, err = newClockwork(w.gate.Notify, w.registry, o.logger.With("component", "clock")); err != nil {
		return err
	}
	w.eval = evaluator.New(patient{samples, w.clock}, evaluator.Options{
		Interval: o.interval, ResendDelay: o.resend, ExternalURL: external, ExternalLabels: p.alerting.ExternalLabels, Notify: w.clock.Notify,
		Logger: demoted(o.logger).With("component", "evaluator"), Registerer: w.registry,
	})
	w.clock.alerting, w.clock.settling = w.eval.AlertingRules, w.settling
	w.exporter = web.NewExporter(w.db, w.eval, w.judge, time.Now, o.logger.With("component", "exporter"))
	w.registry.MustRegister(w.exporter)
	if w.server, err = web.New(ln, func() error { return nil }, w.webOptions(samples)); err != nil {
		return err
	}
	if err := w.apply(p); err != nil {
		return err
	}
	w.judge.load()
	w.loaded.note(nil, w.started)
	return nil
}

// maxJudged is how many queries may be read and judged at once, while others run: upstream's gate stands before both.
const maxJudged = 100

// webOptions is what the API shows of the components, and what it may do with them.
func (w *watch) webOptions(s samples) web.Options {
	o := w.o
	limits := o.query.WithDefaults()
	options := web.Options{
		DB: w.db, Parser: evaluator.NewParser(), Targets: w.scraper, Rules: w.eval, Alertmanagers: w.sender, Verdicts: w.judge,
		Config: w.upstream, Flags: o.flags, Version: version, Retention: o.retention, Started: w.started, Now: time.Now, Loaded: w.loaded.last,
		Registry: w.registry, ConfigFile: o.webConfig, Pprof: o.pprof, Logger: demoted(o.logger).With("component", "web"),
		Limits: limits,
		Engine: evaluator.NewEngine(evaluator.EngineOptions{
			MaxSubquery: evaluator.MaxSubqueryPoints, Logger: o.logger,
			MaxSamples: limits.Samples, Timeout: limits.Timeout, MaxConcurrent: maxJudged, // the web's queue is what bounds those that run
			Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"engine": "api"}, w.registry),
		}),
	}
	if o.reload != nil {
		options.Reload = w.reload
	}
	if o.receiver {
		options.Receiver = s
	}
	return options
}

// Close closes the database, when nothing writes to it any more.
func (w *watch) Close() error { return w.db.Close() }

// apply puts a plan in force, part by part; each part changes all or nothing. Where one is refused, those before it
// get their old plan back.
func (w *watch) apply(p *plan) error {
	old := w.current.Load()
	parts := []func(*plan) error{
		func(p *plan) error { return w.eval.Update(p.rules) },
		func(p *plan) error { return w.scraper.Apply(p.scrape) },
		func(p *plan) error { return w.sender.Apply(p.alerting) },
		w.applyRemote,
	}
	for i, part := range parts {
		err := part(p)
		if err == nil {
			continue
		}
		if old != nil {
			for _, done := range parts[:i+1] {
				err = errors.Join(err, done(old))
			}
		}
		return err
	}
	w.judge.Update(p.objectives)
	w.gate.start(p)
	w.exporter.Update(p.objectives)
	w.current.Store(p)
	return nil
}

// reload reads everything anew, and keeps what is in force where anything in it is wrong.
func (w *watch) reload() (err error) {
	w.reloading.Lock()
	defer w.reloading.Unlock()
	defer func() { w.loaded.note(err, time.Now()) }()
	p, err := w.o.reload()
	if err != nil {
		return err
	}
	if err := w.apply(p); err != nil {
		return err
	}
	w.o.logger.Info("Reloaded", "slos", len(p.objectives), "jobs", len(p.scrape.Jobs()), "alertmanagers", len(p.alerting.Endpoints))
	return nil
}

// settling is how long it takes until every target has been scraped.
func (w *watch) settling() time.Duration {
	longest := time.Duration(0)
	for _, job := range w.upstream().ScrapeConfigs {
		longest = max(longest, time.Duration(job.ScrapeInterval+job.ScrapeTimeout))
	}
	return longest
}

func (w *watch) upstream() config.Config { return w.current.Load().scrape.Upstream() }

// run runs all actors until ctx is cancelled or one of them fails. They stop in the order of their blocks,
// because each interrupt waits until its actor has returned.
func (w *watch) run(ctx context.Context, hangups <-chan os.Signal) error {
	var g run.Group
	{
		// Waits for the end that the outside asks for.
		g.Add(actor(func(own context.Context) error {
			select {
			case <-ctx.Done():
			case <-own.Done():
			}
			return nil
		}))
	}
	{
		// Reloads on SIGHUP.
		g.Add(actor(func(own context.Context) error { return w.followHangups(own, hangups) }))
	}
	if w.o.sources.every > 0 {
		// Reloads when the sources change.
		s := w.o.sources
		s.reload, s.failed = w.reload, w.complain
		g.Add(actor(s.Run))
	}
	{
		// Follows the clock, for the rules' sake.
		g.Add(actor(w.clock.Run))
	}
	{
		// Judges alerts on the history. Reads only, and may end at any time.
		g.Add(actor(w.judge.Run))
	}
	{
		// Scrapes targets. Stops before the evaluator, which then sees all that was scraped.
		g.Add(actor(w.scraper.Run))
	}
	{
		// Evaluates rules. Stops before the sender, so that its last alerts are queued.
		g.Add(actor(w.eval.Run))
	}
	{
		// Delivers alerts. Drains what is queued, within its bound.
		g.Add(actor(w.sender.Run))
	}
	{
		// Answers HTTP, until all else has ended, so that one can watch it end.
		g.Add(actor(w.server.Run))
	}
	{
		// Writes to other databases, when all that makes samples has ended.
		g.Add(actor(w.followRemote))
	}
	{
		// Looks after the database, which is closed when the group has ended.
		g.Add(actor(w.db.Run))
	}
	return g.Run()
}

func (w *watch) followHangups(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
			if err := w.reload(); err != nil {
				w.complain(err)
			}
		}
	}
}

func (w *watch) complain(err error) {
	w.o.logger.Error("Reload; the old configuration is still in force", "err", err)
}

// actor makes an oklog/run actor of a Run function: its interrupt cancels and then waits.
func actor(run func(context.Context) error) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	return func() error { defer close(done); return run(ctx) },
		func(error) { cancel(); <-done }
}
