package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/spf13/cobra"

	"github.com/slowburn/slowburn/alerts"
	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/fixtures"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/scrape"
	"github.com/slowburn/slowburn/slo"
)

// The demonstration's clock: an hour passes in a minute.
const (
	demoScale    = 1.0 / 60
	demoInterval = time.Second
	demoFor      = 3 * time.Second // so that one sees pending before firing
	demoCalm     = 15 * time.Second
	demoIncident = 12 * time.Second
	demoLimit    = 110 * time.Second
)

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "The whole story in two minutes, nothing else needed",
		Long: `demo plays a shop of four services on this machine's loopback, reads the SLOs from the shop's TypeScript sources,
generates the rules, scrapes, lets one tenant's searches fail, and shows each step until the alert has come and gone.
It needs no Node, no Docker and no Alertmanager; with --alertmanager the alerts go there too. Windows are scaled so
that an hour passes in a minute. Nothing is left behind.`,
		Example: `  slowburn demo
  slowburn demo --alertmanager http://127.0.0.1:9093 --keep`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	alertmanagers := f.StringSlice("alertmanager", nil, "URL of an Alertmanager to push to")
	listen := f.String("listen", "127.0.0.1:0", "address to answer HTTP on; port 0 takes a free one")
	seed := f.Uint64("seed", 1, "of the traffic")
	keep := f.Bool("keep", false, "go on after the end, until interrupted")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := &demo{say: narrator{text: text(cmd.OutOrStdout())}, seed: *seed, keep: *keep, listen: *listen}
		for _, url := range *alertmanagers {
			d.alertmanagers = append(d.alertmanagers, alerts.Endpoint{URL: url})
		}
		log, err := logger(cmd)
		if err != nil {
			return err
		}
		if !cmd.Flags().Changed("log-level") {
			log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError}))
		}
		d.log = log
		return d.run(cmd.Context())
	}
	return cmd
}

type demo struct {
	say           narrator
	log           *slog.Logger
	listen        string
	alertmanagers []alerts.Endpoint
	seed          uint64
	keep          bool
}

func (d *demo) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "slowburn-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system cleans its temporary files
	sources := filepath.Join(dir, "shop")
	if err := os.CopyFS(sources, fixtures.Shop()); err != nil {
		return fmt.Errorf("unpack the shop's sources: %w", err)
	}
	w, err := d.read(ctx, sources)
	if err != nil {
		return err
	}
	if err := d.month(ctx, sources); err != nil {
		return err
	}
	shop, err := newPlayedShop(d.seed, serviceNames(w)...)
	if err != nil {
		return err
	}
	defer shop.close()
	return d.watch(ctx, w, shop, filepath.Join(dir, "data"))
}

// read tells the first two chapters: what the sources promise, and the rules it becomes.
func (d *demo) read(ctx context.Context, sources string) (*workspace, error) {
	w, err := readWorkspace(ctx, sources, readSettings{policy: slo.DefaultPolicy().Name, windowScale: demoScale, serviceLabel: "service", logger: d.log})
	if err != nil {
		return nil, err
	}
	if err := w.refused(); err != nil {
		return nil, err
	}
	for i := range w.objectives {
		for j := range w.objectives[i].Policy.Tiers {
			w.objectives[i].Policy.Tiers[j].For = demoFor
		}
	}
	if err := w.compile(ctx); err != nil {
		return nil, err
	}
	d.say.chapter("contract", "what the shop's TypeScript sources promise")
	writeScanTable(d.say.text, w)
	d.say.chapter("rules", "what it becomes; here an hour passes in a minute, so 1h is recorded as 1m")
	_, figures := tellRules(w)
	d.say.line("%d burn-rate recordings, %d more for guards and budgets, %d alerts; the fast tier of search:",
		figures["recording_rules"], figures["other_recording_rules"], figures["alerting_rules"])
	for _, g := range w.groups.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" && r.Labels["service"] == "search" && r.Labels["burn_tier"] == "fast" {
				d.say.code(r.Expr)
			}
		}
	}
	return w, nil
}

func serviceNames(w *workspace) []string {
	var names []string
	for _, s := range w.topology.Services {
		names = append(names, s.Known())
	}
	return names
}

// watch tells the rest: scrape, burn rates, pending, firing, resolved.
func (d *demo) watch(ctx context.Context, w *workspace, shop *playedShop, dataDir string) (err error) {
	p := &plan{objectives: w.objectives, rules: evaluator.Rules{Groups: w.groups}, alerting: alerts.Config{Endpoints: d.alertmanagers}}
	if p.scrape, err = (scrape.Config{}).With(shop.jobs()...); err != nil {
		return err
	}
	live, err := newWatch(watchOptions{
		dataDir: dataDir, listen: d.listen, retention: 24 * time.Hour, interval: demoInterval, resend: 10 * time.Second,
		flags: map[string]string{}, logger: d.log,
	}, p)
	if err != nil {
		return err
	}
	d.say.chapter("scrape", "four services with three tenants each, every second")
	for _, s := range shop.services {
		d.say.line("%-10s http://%s/metrics", s.name, s.listener.Addr())
	}
	stories, stop := context.WithCancel(ctx)
	defer stop()
	running := make(chan error, 2)
	go func() { running <- live.run(stories, nil) }() // both end when stop is called, and are waited for below
	go func() { running <- shop.Run(stories) }()
	told := d.tell(stories, live, shop)
	if told == nil && d.keep {
		d.say.line("Still running: press Ctrl-C to end.")
		<-ctx.Done()
	}
	stop()
	err = errors.Join(told, <-running, <-running, live.Close())
	if told == nil && !d.keep {
		d.say.line("The end. slowburn demo --keep leaves it running to look around; slowburn serve DIR watches your own services.")
	}
	return err
}

func (s *playedShop) jobs() (jobs []*config.ScrapeConfig) {
	for _, service := range s.services {
		jobs = append(jobs, scrape.Static(service.name, demoInterval, map[string]string{"service": service.name}, service.listener.Addr().String()))
	}
	return jobs
}

// narrator writes the story.
type narrator struct{ text report.Text }

func (n narrator) chapter(name, what string) {
	n.text.Printf("\n%s %s\n", n.text.Paint("== "+name, report.Bold), n.text.Paint(what, report.Dim))
}

func (n narrator) line(format string, args ...any) { n.text.Printf(format+"\n", args...) }

func (n narrator) code(s string) { io.WriteString(n.text.W, n.text.Paint(s, report.Cyan)+"\n") } //nolint:errcheck // as Printf
