// Package scrape collects samples from targets by Prometheus's own scrape and discovery managers, with limits on by
// default, so that no target can harm the others. It stores nothing itself: samples go to the appendable it is given.
package scrape

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"

	// Discovery mechanisms enter upstream's registry by being imported: it has no other door. These three are
	// all that slowburn speaks; a configuration that names another is refused.
	_ "github.com/prometheus/prometheus/discovery/dns"
	_ "github.com/prometheus/prometheus/discovery/file"
	_ "github.com/prometheus/prometheus/discovery/moby"
	promscrape "github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
)

// Options of New. The zero value works.
type Options struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Grace is how long Run waits for scrapes under way when it is told to stop, two seconds if zero. Those that take
	// longer are cut off, and leave no trace: a target is not down because we stop looking at it.
	Grace time.Duration
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry() // upstream's discovery cannot do without
	}
	if o.Grace == 0 {
		o.Grace = 2 * time.Second
	}
	return o
}

// Scraper scrapes the targets of its configuration while it runs. Its methods may be called at once;
// Run may be called once.
type Scraper struct {
	opts    Options
	manager *promscrape.Manager
	sd      *discovery.SDMetrics
	hangUp  *hangUp

	mu        sync.Mutex
	applied   Config
	discovery *discovery.Manager // nil unless running
}

// New returns a Scraper that appends to app. It scrapes nothing until Apply has told it what, and Run runs.
func New(app storage.AppendableV2, o Options) (*Scraper, error) {
	alignOff()
	o = o.withDefaults()
	s := &Scraper{opts: o, hangUp: newHangUp()}
	manager, err := promscrape.NewManager(&promscrape.Options{
		DiscoveryReloadOnStartup: true, // else the first scrape waits five seconds
		DiscoveryReloadInterval:  model.Duration(time.Second),
		AppendMetadata:           true,
		HTTPClientOptions:        []promconfig.HTTPClientOption{promconfig.WithDialContextFunc(s.hangUp.dial)},
	}, o.Logger, nil, nil, appendable{app, s.hangUp}, o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("make scraper: %w", err)
	}
	sd, err := discovery.CreateAndRegisterSDMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("make scraper: %w", err)
	}
	s.manager, s.sd = manager, sd
	return s, s.Apply(Config{})
}

// alignOff keeps scrapes from being given the time at which they should have happened: after the clock has stepped back,
// upstream would go on in the future until real time has caught up, and the database would refuse it all. Upstream has
// this as a variable of its package, read by every scrape loop; it is written once, before the first of them exists.
//
//nolint:gochecknoglobals // it stands for a variable of upstream's package, and is as global as that
var alignOff = sync.OnceFunc(func() { promscrape.AlignScrapeTimestamps = false })

// Apply replaces what is scraped. Everything that can fail is done first; on an error nothing has changed.
// Targets that stay are scraped on without a gap.
func (s *Scraper) Apply(c Config) error {
	if err := s.check(c); err != nil {
		return fmt.Errorf("apply scrape configuration: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.applied
	if err := s.swap(c); err != nil {
		return errors.Join(fmt.Errorf("apply scrape configuration: %w", err), s.swap(old))
	}
	return nil
}

// check does what upstream would only log when it fails: it makes the HTTP client and the discoverers of each job.
func (s *Scraper) check(c Config) error {
	var errs []error
	for _, job := range c.jobs() {
		client, err := promconfig.NewClientFromConfig(job.HTTPClientConfig, job.JobName)
		if err != nil {
			errs = append(errs, fmt.Errorf("job %q: %w", job.JobName, err))
			continue
		}
		client.CloseIdleConnections()
		for _, d := range job.ServiceDiscoveryConfigs {
			_, err := d.NewDiscoverer(discovery.DiscovererOptions{
				Logger: slog.New(slog.DiscardHandler), Metrics: s.sd.MechanismMetrics[d.Name()], SetName: job.JobName,
			})
			if err != nil {
				errs = append(errs, fmt.Errorf("job %q: %s discovery: %w", job.JobName, d.Name(), err))
			}
		}
	}
	return errors.Join(errs...)
}

// swap puts c into the managers. s.mu is held.
func (s *Scraper) swap(c Config) error {
	full, err := c.full()
	if err != nil {
		return err
	}
	if err := s.manager.ApplyConfig(full); err != nil {
		return err
	}
	s.applied = c
	if s.discovery == nil {
		return nil
	}
	return s.discovery.ApplyConfig(c.discovery())
}

// Run scrapes until ctx is cancelled. It returns when all scrapes have ended: those under way get Options.Grace.
func (s *Scraper) Run(ctx context.Context) error {
	finding, cancel := context.WithCancel(ctx)
	defer cancel()
	d := discovery.NewManager(finding, s.opts.Logger, s.opts.Registerer, s.sd, discovery.Name("scrape"))
	if d == nil {
		return errors.New("run scraper: the discovery metrics are registered already: a Scraper runs once")
	}
	found := make(chan error, 1)
	go func() { found <- d.Run() }() // ends with finding
	if err := s.begin(d); err != nil {
		return errors.Join(fmt.Errorf("run scraper: %w", err), s.end(cancel, found))
	}
	scraped := make(chan error, 1)
	go func() { scraped <- s.manager.Run(d.SyncCh()) }() // ends when d has closed the channel, or by Stop
	<-ctx.Done()
	err := s.end(cancel, found)
	return errors.Join(err, <-scraped)
}

// begin hands the configuration that was applied so far to discovery.
func (s *Scraper) begin(d *discovery.Manager) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discovery = d
	return d.ApplyConfig(s.applied.discovery())
}

// end stops discovery, then the scrape loops; what still hangs after the grace is cut off.
func (s *Scraper) end(cancel context.CancelFunc, found <-chan error) error {
	s.mu.Lock()
	s.discovery = nil
	s.mu.Unlock()
	cancel()
	err := <-found
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	cut := time.AfterFunc(s.opts.Grace, s.hangUp.now)
	s.manager.Stop()
	cut.Stop()
	s.hangUp.now() // idle connections, too
	return err
}

// Manager is upstream's, whose name only this package may speak.
type Manager = promscrape.Manager

// Get is upstream's manager, which remote_write asks for the metadata of metrics; nothing may be done to it.
func (s *Scraper) Get() (*Manager, error) { return s.manager, nil }

// TargetsActive and the four methods after it are what upstream's web/api/v1 asks about targets.
func (s *Scraper) TargetsActive() map[string][]*promscrape.Target { return s.manager.TargetsActive() }

// TargetsDropped are the targets that relabelling dropped, by job.
func (s *Scraper) TargetsDropped() map[string][]*promscrape.Target { return s.manager.TargetsDropped() }

// TargetsDroppedCounts counts the targets that relabelling dropped, by job.
func (s *Scraper) TargetsDroppedCounts() map[string]int { return s.manager.TargetsDroppedCounts() }

// ScrapePoolConfig is the configuration of a job that is being scraped.
func (s *Scraper) ScrapePoolConfig(job string) (*config.ScrapeConfig, error) {
	return s.manager.ScrapePoolConfig(job)
}

// ScrapePools are the names of the jobs that are being scraped.
func (s *Scraper) ScrapePools() []string { return s.manager.ScrapePools() }
