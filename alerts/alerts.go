// Package alerts delivers alerts to Alertmanagers, and keeps those it could not deliver until it can.
// It decides nothing about them: what fires is the evaluator's business, who is paged is Alertmanager's.
package alerts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/util/strutil"
)

// Defaults of Options.
const (
	DefaultTimeout          = 10 * time.Second
	DefaultDrain            = 10 * time.Second
	DefaultMaxQueue         = 50_000
	DefaultResolveRetention = 24 * time.Hour
)

// Options of New. The zero value works.
type Options struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// Dir keeps what is not delivered yet on disk, a file per Alertmanager; empty means in memory only.
	Dir string
	// ExternalURL is where people find the expression of an alert: it begins each alert's generatorURL.
	ExternalURL string
	// Timeout bounds one POST, DefaultTimeout if zero.
	Timeout time.Duration
	// Drain bounds how long Run goes on delivering after it was told to stop, DefaultDrain if zero.
	Drain time.Duration
	// MaxQueue bounds the alerts waiting for one Alertmanager, DefaultMaxQueue if zero.
	MaxQueue int
	// ResolveRetention is how long a resolved notice is worth delivering, DefaultResolveRetention if zero. It is long
	// because an Alertmanager that was down forgets its alerts, but not that it has notified somebody of them.
	ResolveRetention time.Duration

	// Connect makes what posts to an Endpoint; nil means Alertmanager's API v2 over HTTP.
	Connect func(Endpoint) (Poster, error)
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Drain == 0 {
		o.Drain = DefaultDrain
	}
	if o.MaxQueue == 0 {
		o.MaxQueue = DefaultMaxQueue
	}
	if o.ResolveRetention == 0 {
		o.ResolveRetention = DefaultResolveRetention
	}
	if o.Connect == nil {
		o.Connect = connect
	}
	return o
}

// Sender delivers alerts to all of its Alertmanagers, to each at its own pace. Its methods may be called at once;
// Run may be called once.
type Sender struct {
	opts    Options
	metrics *metrics

	mu       sync.Mutex
	external labels.Labels
	relabel  []*relabel.Config
	workers  []*worker // in the order of the endpoints
	running  *running  // nil before Run and after it
}

// running is what Run lends to Apply.
type running struct {
	stopping context.Context //nolint:containedctx // not a call's: the life of Run, which the workers that Apply starts share
	wg       *sync.WaitGroup // of the workers
}

var _ rules.NotifyFunc = (*Sender)(nil).Notify

// New returns a Sender, with what an earlier one left in Options.Dir. It delivers nothing until Run is called.
func New(c Config, o Options) (*Sender, error) {
	o = o.withDefaults()
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Sender{opts: o, metrics: m}
	return s, s.Apply(c)
}

// Notify queues alerts for every Alertmanager. It is a rules.NotifyFunc and does not wait for delivery;
// when it returns, the alerts survive the end of the process, if Options.Dir is set.
func (s *Sender) Notify(_ context.Context, expr string, alerts ...*rules.Alert) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := make([]item, 0, len(alerts))
	for _, a := range alerts {
		if i, keep := s.item(expr, a); keep {
			items = append(items, i)
		}
	}
	if len(items) == 0 {
		return
	}
	for _, w := range s.workers {
		w.put(items)
	}
}

// item is what Alertmanager gets of an alert. As Prometheus has it, a firing alert ends when it would be sorely missed.
// s.mu is held.
func (s *Sender) item(expr string, a *rules.Alert) (item, bool) {
	b := labels.NewBuilder(a.Labels)
	s.external.Range(func(l labels.Label) {
		if a.Labels.Get(l.Name) == "" {
			b.Set(l.Name, l.Value)
		}
	})
	if !relabel.ProcessBuilder(b, s.relabel...) {
		return item{}, false
	}
	i := item{
		Labels: b.Labels().Map(), Annotations: a.Annotations.Map(), Starts: a.FiredAt, Ends: a.ValidUntil,
		Generator: s.opts.ExternalURL + strutil.TableLinkForExpression(expr),
	}
	if !a.ResolvedAt.IsZero() {
		i.Ends, i.Resolved = a.ResolvedAt, true
	}
	if !i.Ends.IsZero() && i.Ends.Before(i.Starts) {
		i.Starts = i.Ends // the clock was set back meanwhile; Alertmanager refuses what ends before it starts
	}
	return i, true
}

// Run delivers until ctx is cancelled, and then for at most Options.Drain what is still queued. What is left after that
// is counted in the log, and delivered by the next Sender if Options.Dir is set.
func (s *Sender) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	s.mu.Lock()
	s.running = &running{stopping: ctx, wg: &wg}
	for _, w := range s.workers {
		s.start(w)
	}
	s.mu.Unlock()

	<-ctx.Done()
	s.mu.Lock()
	s.running = nil
	workers := s.workers
	s.mu.Unlock()
	wg.Wait()
	var errs []error
	for _, w := range workers {
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}

// start runs w until it is dismissed, or drained after Run was told to stop. s.mu is held.
func (s *Sender) start(w *worker) {
	stopping := s.running.stopping
	s.running.wg.Go(func() { w.run(stopping) })
}

// Apply replaces the Alertmanagers and the relabelling. Alertmanagers that stay keep their queues, even where the way
// to reach them has changed; what is queued for those that go is dropped and counted. On an error nothing has changed.
func (s *Sender) Apply(c Config) error {
	for _, r := range c.Relabel {
		if err := r.Validate(model.UTF8Validation); err != nil {
			return fmt.Errorf("alert relabelling: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := map[string]*worker{}
	for _, w := range s.workers {
		old[w.name] = w
	}
	next, posters, err := s.prepare(c.Endpoints, old)
	if err != nil {
		return err
	}
	for i, w := range next {
		w.reach(posters[i])
		if old[w.name] == nil && s.running != nil {
			s.start(w)
		}
		delete(old, w.name)
	}
	s.workers, s.external, s.relabel = next, c.ExternalLabels, c.Relabel
	var errs []error
	for _, gone := range old {
		errs = append(errs, gone.dismiss(s.running != nil))
	}
	return errors.Join(errs...)
}

// prepare does all of Apply that can fail.
func (s *Sender) prepare(endpoints []Endpoint, old map[string]*worker) (next []*worker, posters []Poster, err error) {
	var errs []error
	seen := map[string]bool{}
	for _, e := range endpoints {
		name, err := e.name()
		if err == nil && seen[name] {
			err = fmt.Errorf("alertmanager %s: named twice", name)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		seen[name] = true
		poster, err := s.opts.Connect(e)
		if err != nil {
			errs = append(errs, fmt.Errorf("alertmanager %s: %w", name, err))
			continue
		}
		w := old[name]
		if w == nil {
			if w, err = newWorker(name, s.opts, s.metrics); err != nil {
				errs = append(errs, fmt.Errorf("alertmanager %s: %w", name, err))
				continue
			}
		}
		next, posters = append(next, w), append(posters, poster)
	}
	if len(errs) == 0 {
		return next, posters, nil
	}
	for _, w := range next {
		if old[w.name] == nil {
			errs = append(errs, w.close())
		}
	}
	return nil, nil, errors.Join(errs...)
}

// Alertmanagers are where alerts go, without user names and passwords.
func (s *Sender) Alertmanagers() []*url.URL {
	s.mu.Lock()
	defer s.mu.Unlock()
	var urls []*url.URL
	for _, w := range s.workers {
		if u, err := url.Parse(w.name); err == nil {
			urls = append(urls, u.JoinPath("/api/v2/alerts"))
		}
	}
	return urls
}

// DroppedAlertmanagers is always empty: Alertmanagers are named one by one, not discovered and filtered.
func (s *Sender) DroppedAlertmanagers() []*url.URL { return nil }

// Told says whether an Alertmanager knows that a fires, or is about to be told: what has been begun with somebody
// must be brought to its end with them.
func (s *Sender) Told(a *rules.Alert) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, keep := s.item("", a)
	return keep && slices.ContainsFunc(s.workers, func(w *worker) bool { return w.outbox.told(i) })
}

// Queued is the number of alerts that wait for the slowest Alertmanager.
func (s *Sender) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest := 0
	for _, w := range s.workers {
		longest = max(longest, w.outbox.length())
	}
	return longest
}
