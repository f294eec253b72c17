package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
)

const (
	leastStep = 5 * time.Second // by which a clock has to be off to have been set; less is slewing, or a busy machine
	leastGap  = time.Minute     // between two looks, either way, after which no rule is evaluated before targets have been scraped
	lookEvery = time.Second
)

// clockwork follows the wall clock, and keeps alerts right where it is set or where the process stood still.
//
// After a step back, upstream's rules would not repeat a firing alert before time has caught up with what the clock said
// before, and Alertmanager would take that for its end; nor would they tell its end. After a leap, ahead or back, they
// would find no sample of that time, and take that for the end of every alert; so they do when the process was stopped or
// its machine slept.
type clockwork struct {
	read     func() (wall time.Time, elapsed time.Duration) // elapsed by the monotonic clock
	alerting func() []*rules.AlertingRule
	settling func() time.Duration // how long it takes until all targets have been scraped
	next     rules.NotifyFunc
	logger   *slog.Logger
	steps    prometheus.Counter

	mu      sync.Mutex
	wall    time.Time // when it was last looked at
	elapsed time.Duration
	behind  time.Duration // how far the clock has been set back
	untold  []time.Duration
	settled time.Duration // from when rules are evaluated, on the monotonic clock
}

// newClockwork makes a clockwork; its fields alerting and settling are to be set before it runs.
func newClockwork(next rules.NotifyFunc, r prometheus.Registerer, logger *slog.Logger) (*clockwork, error) {
	began := time.Now()
	c := &clockwork{
		read: func() (time.Time, time.Duration) { now := time.Now(); return now.Round(0), now.Sub(began) },
		next: next, logger: logger, wall: began.Round(0),
		steps: prometheus.NewCounter(prometheus.CounterOpts{Name: "slowburn_clock_steps_total", Help: "Times that the wall clock was set by five seconds or more."}),
	}
	if err := r.Register(c.steps); err != nil {
		return nil, fmt.Errorf("register metrics of the clock: %w", err)
	}
	return c, nil
}

// Run looks at the clock until ctx is cancelled.
func (c *clockwork) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.tell()
		}
	}
}

// look compares both clocks with what they said before. It tells how far the wall clock is set back, and for how
// long no rule is to be evaluated.
func (c *clockwork) look() (behind, waiting time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, elapsed := c.read()
	passed, gap := elapsed-c.elapsed, wall.Sub(c.wall)
	c.wall, c.elapsed = wall, elapsed
	step := gap - passed
	if step.Abs() >= leastStep {
		c.behind = max(0, c.behind-step)
		c.untold = append(c.untold, step)
	}
	if gap.Abs() >= leastGap {
		c.settled = elapsed + c.settling()
	}
	return c.behind, c.settled - elapsed
}

// tell tells of steps, and sets alerts right. It asks the rule manager, which may be waiting for an evaluation to end:
// none may call it.
func (c *clockwork) tell() {
	c.look()
	c.mu.Lock()
	untold, wall := c.untold, c.wall
	c.untold = nil
	c.mu.Unlock()
	for _, step := range untold {
		c.steps.Inc()
		c.logger.Warn("The clock was set", "by", step.Round(time.Second), "to", wall)
		c.recall(wall, step)
	}
}

// recall moves times of active alerts that have become future by a step of the clock. Since when an alert fires was told
// already, and stays.
func (c *clockwork) recall(wall time.Time, step time.Duration) {
	for _, rule := range c.alerting() {
		rule.ForEachActiveAlert(func(a *rules.Alert) {
			for _, at := range []*time.Time{&a.ActiveAt, &a.ResolvedAt, &a.LastSentAt} {
				if at.After(wall) && (at != &a.ActiveAt || a.State == rules.StatePending) {
					*at = at.Add(step)
				}
			}
		})
	}
}

// Notify is a rules.NotifyFunc. The end that it tells of an alert is never earlier than the clock would have said
// had it not been set back: Alertmanager's may not have been.
func (c *clockwork) Notify(ctx context.Context, expr string, alerts ...*rules.Alert) {
	behind, _ := c.look()
	if behind == 0 {
		c.next(ctx, expr, alerts...)
		return
	}
	moved := make([]*rules.Alert, len(alerts))
	for i, a := range alerts {
		own := *a
		for _, at := range []*time.Time{&own.ValidUntil, &own.ResolvedAt} {
			if !at.IsZero() {
				*at = at.Add(behind)
			}
		}
		moved[i] = &own
	}
	c.next(ctx, expr, moved...)
}

// patient is a database for rules that answers nothing after a gap, until targets have been scraped again: a failed
// evaluation leaves alerts as they are.
type patient struct {
	samples
	clock *clockwork
}

// Querier implements storage.Queryable.
func (p patient) Querier(mint, maxt int64) (storage.Querier, error) {
	if _, waiting := p.clock.look(); waiting > 0 {
		return nil, fmt.Errorf("no rule is evaluated for %s: time has leapt, and targets are scraped first", waiting.Round(time.Second))
	}
	return p.samples.Querier(mint, maxt)
}
