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

	"github.com/slowburn/slowburn/alerts"
	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/scrape"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/tsdb"
	"github.com/slowburn/slowburn/web"
)

// watchOptions is what a watch needs beside its plan.
type watchOptions struct {
	dataDir       string
	listen        string
	externalURL   string
	webConfig     string
	retention     time.Duration
	interval      time.Duration // of rule evaluation
	resend        time.Duration
	alertmanagers []alerts.Endpoint
	flags         map[string]string
	logger        *slog.Logger
	reload        func() (*plan, error) // nil: no reload
}

// plan is what a watch does, and what a reload replaces as a whole.
type plan struct {
	rules      evaluator.Rules
	objectives []slo.Objective
	scrape     scrape.Config
}

// watch is the live pipe: scraper, database, evaluator, sender and web, made of one plan.
type watch struct {
	o        watchOptions
	db       *tsdb.DB
	scraper  *scrape.Scraper
	eval     *evaluator.Evaluator
	sender   *alerts.Sender
	server   *web.Server
	exporter *web.Exporter
	registry *prometheus.Registry
	started  time.Time

	reloading sync.Mutex           // one reload at a time
	current   atomic.Pointer[plan] // what is in force
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
	if w.sender, err = alerts.New(o.alertmanagers, alerts.Options{
		Logger: o.logger.With("component", "alerts"), Registerer: w.registry,
		Dir: filepath.Join(o.dataDir, "outbox"), ExternalURL: o.externalURL,
	}); err != nil {
		return err
	}
	if w.scraper, err = scrape.New(w.db, scrape.Options{Logger: demoted(o.logger).With("component", "scrape"), Registerer: w.registry}); err != nil {
		return err
	}
	w.eval = evaluator.New(w.db, evaluator.Options{
		Interval: o.interval, ResendDelay: o.resend, ExternalURL: external, Notify: w.sender.Notify,
		Logger: demoted(o.logger).With("component", "evaluator"), Registerer: w.registry,
	})
	w.exporter = web.NewExporter(w.db, w.eval, time.Now, o.logger.With("component", "exporter"))
	w.registry.MustRegister(w.exporter)
	engine := evaluator.NewEngine(evaluator.EngineOptions{
		MaxSubquery: evaluator.MaxSubqueryPoints, Logger: o.logger,
		Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"engine": "api"}, w.registry),
	})
	options := web.Options{
		DB: w.db, Engine: engine, Parser: evaluator.NewParser(), Targets: w.scraper, Rules: w.eval, Alertmanagers: w.sender,
		Config: w.upstream, Flags: o.flags, Version: version, Retention: o.retention, Started: w.started, Now: time.Now,
		Registry: w.registry, ConfigFile: o.webConfig, Logger: demoted(o.logger).With("component", "web"),
	}
	if o.reload != nil {
		options.Reload = w.reload
	}
	if w.server, err = web.New(ln, func() error { return nil }, options); err != nil {
		return err
	}
	return w.apply(p)
}

// Close closes the database, when nothing writes to it any more.
func (w *watch) Close() error { return w.db.Close() }

// apply puts a plan in force. The rules are checked before anything is touched; where the scraper refuses its
// part, the old rules come back.
func (w *watch) apply(p *plan) error {
	if err := w.eval.Update(p.rules); err != nil {
		return err
	}
	if err := w.scraper.Apply(p.scrape); err != nil {
		if old := w.current.Load(); old != nil {
			return errors.Join(err, w.eval.Update(old.rules))
		}
		return err
	}
	w.exporter.Update(p.objectives)
	w.current.Store(p)
	return nil
}

// reload reads everything anew, and keeps what is in force where anything in it is wrong.
func (w *watch) reload() error {
	w.reloading.Lock()
	defer w.reloading.Unlock()
	p, err := w.o.reload()
	if err != nil {
		return err
	}
	return w.apply(p)
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
				w.o.logger.Error("Reload; the old configuration is still in force", "err", err)
				continue
			}
			w.o.logger.Info("Reloaded")
		}
	}
}

// actor makes an oklog/run actor of a Run function: its interrupt cancels and then waits.
func actor(run func(context.Context) error) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	return func() error { defer close(done); return run(ctx) },
		func(error) { cancel(); <-done }
}
