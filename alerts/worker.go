package alerts

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/api/v2/models"
)

// Pace of delivery to one Alertmanager.
const (
	batchSize  = 256 // as Prometheus has it
	firstPause = 500 * time.Millisecond
	lastPause  = 10 * time.Second
	drainPause = time.Second // the longest pause while draining
)

// Poster posts alerts to one Alertmanager. An error that is an ErrRefused blames the alerts: sending them again is of
// no use, though some may be good. Any other says that they may be sent again.
type Poster func(ctx context.Context, alerts models.PostableAlerts) error

// worker delivers to one Alertmanager. One goroutine runs it; the others put.
type worker struct {
	name   string // its URL, without user name and password
	opts   Options
	log    *slog.Logger
	m      gauges
	outbox *outbox
	wake   chan struct{} // holds a token while there may be something to do

	gone  chan struct{} // closed by leave: the Alertmanager is no longer ours
	leave func()
	ended chan struct{} // closed when run has returned

	mu      sync.Mutex // guards poster and journal, and the order of changes to outbox and journal
	poster  Poster
	journal *journal // nil: in memory only
}

func newWorker(name string, o Options, m *metrics) (*worker, error) {
	w := &worker{
		name: name, opts: o, log: o.Logger.With("alertmanager", name), m: m.of(name),
		wake: make(chan struct{}, 1), gone: make(chan struct{}), ended: make(chan struct{}),
	}
	w.leave = sync.OnceFunc(func() { close(w.gone) })
	w.outbox = newOutbox(o.MaxQueue, o.ResolveRetention, w.drop)
	if o.Dir == "" {
		return w, nil
	}
	return w, w.load()
}

func (w *worker) drop(reason string, n int) {
	w.m.dropped[reason].Add(float64(n))
	w.log.Warn("Alerts dropped", "reason", reason, "count", n)
}

// file is where the queue of this Alertmanager is kept: its host for people, a hash of its URL for the rest.
func (w *worker) file() string {
	h := fnv.New64a()
	h.Write([]byte(w.name))
	return filepath.Join(w.opts.Dir, fmt.Sprintf("alertmanager-%016x.outbox", h.Sum64()))
}

// load takes over what an earlier process left.
func (w *worker) load() error {
	j, records, bad, err := openJournal(w.file())
	if err != nil {
		return fmt.Errorf("open outbox %s: %w", w.file(), err)
	}
	if bad > 0 {
		w.m.damaged.Add(float64(bad))
		w.log.Error("The outbox was damaged: some alerts may be lost, a copy is kept aside",
			"file", w.file(), "copy", w.file()+".damaged", "lines", bad)
	}
	for _, r := range records {
		w.replay(r)
	}
	w.journal = j
	w.wake <- struct{}{}
	w.m.queue.Set(float64(w.outbox.length()))
	if err := j.rewrite(w.live()); err != nil {
		return fmt.Errorf("open outbox %s: %w", w.file(), err)
	}
	return nil
}

func (w *worker) replay(r record) {
	switch {
	case r.Put != nil:
		w.outbox.put([]item{*r.Put})
	case r.Done != nil:
		w.outbox.forgetState(*r.Done)
	default:
		w.outbox.learn(r.Known)
	}
}

// put queues items, on disk first.
func (w *worker) put(items []item) {
	items = slices.Clone(items) // the other workers get them too, and each sets their starts right
	records := make([]record, len(items))
	for n := range items {
		records[n].Put = &items[n]
	}
	w.change(func() { w.outbox.put(items) }, records)
	w.m.queue.Set(float64(w.outbox.length()))
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

// change makes a change to the outbox and appends records of it to the journal, in the same order for all: an alert
// that is delivered while it is still being written would otherwise come back with the next process.
// A disk that takes no more costs durability, not delivery.
func (w *worker) change(apply func(), records []record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	apply()
	if w.journal == nil {
		return
	}
	var err error
	if w.journal.full() {
		err = w.journal.rewrite(w.live()) // which holds the records' effect already
	} else {
		err = w.journal.append(records)
	}
	if err != nil {
		w.m.unkept.Inc()
		w.log.Error("Alerts are in memory only", "err", fmt.Errorf("write outbox %s: %w", w.file(), err))
	}
}

// live is the journal of the outbox as it is.
func (w *worker) live() []record {
	items, known := w.outbox.snapshot()
	var records []record
	if len(known) > 0 {
		records = append(records, record{Known: known})
	}
	for n := range items {
		records = append(records, record{Put: &items[n]})
	}
	return records
}

// reach changes the way to the Alertmanager.
func (w *worker) reach(p Poster) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.poster = p
}

// run delivers until w is dismissed, or until the outbox is empty or the drain's time is up after stopping has ended.
func (w *worker) run(stopping context.Context) {
	defer close(w.ended)
	work, cancel := context.WithCancel(context.WithoutCancel(stopping))
	defer cancel()
	go w.bound(work, stopping, cancel) // ends with work
	pause := firstPause
	for work.Err() == nil {
		batch := w.outbox.take(batchSize, time.Now()) //nolint:forbidigo // the worker's own Run loop
		if len(batch) == 0 {
			if stopping.Err() != nil {
				return
			}
			w.sync()
			w.rest(work, stopping)
			continue
		}
		if w.deliver(work, batch) {
			pause = firstPause
			continue
		}
		w.sync()
		w.wait(work, stopping, pause)
		pause = min(2*pause, lastPause)
	}
	if n := w.outbox.length(); n > 0 && stopping.Err() != nil {
		w.log.Error("Stopped with alerts undelivered", "count", n, "kept", w.opts.Dir != "")
	}
}

// bound ends work at once when w is dismissed, and when the drain's time is up after stopping has ended.
func (w *worker) bound(work, stopping context.Context, cancel context.CancelFunc) {
	defer cancel()
	select {
	case <-w.gone:
		return
	case <-work.Done():
		return
	case <-stopping.Done():
	}
	timer := time.NewTimer(w.opts.Drain)
	defer timer.Stop()
	select {
	case <-w.gone:
	case <-work.Done():
	case <-timer.C:
	}
}

// rest waits until there is something to do.
func (w *worker) rest(work, stopping context.Context) {
	select {
	case <-w.wake:
	case <-stopping.Done():
	case <-work.Done():
	}
}

// wait waits before the next attempt: half of d at least, the rest at random, so that many senders do not come back
// at the same moment. Told to stop, it waits less.
func (w *worker) wait(work, stopping context.Context, d time.Duration) {
	if stopping.Err() != nil {
		d = min(d, drainPause)
	}
	timer := time.NewTimer(d/2 + rand.N(d/2))
	defer timer.Stop()
	ended := stopping.Done()
	if stopping.Err() != nil {
		ended = nil
	}
	select {
	case <-timer.C:
	case <-ended:
	case <-work.Done():
	}
}

// deliver posts a batch, and says whether it is dealt with.
func (w *worker) deliver(ctx context.Context, batch []item) bool {
	err := w.post(ctx, batch)
	var refused *ErrRefused
	switch {
	case err == nil:
		w.settle(batch)
		return true
	case !errors.As(err, &refused):
		if ctx.Err() == nil {
			w.m.failed.Inc()
			w.log.Error("Alerts were not delivered; trying again", "err", fmt.Errorf("post %d alerts: %w", len(batch), err))
		}
		return false
	case len(batch) == 1:
		w.m.failed.Inc()
		w.log.Error("Alertmanager calls an alert invalid; it is dropped", "alert", batch[0].key(), "err", err)
		now := time.Now() //nolint:forbidigo // the worker's own Run loop
		w.change(func() { w.outbox.refuse(batch[0], now) }, []record{{Done: &batch[0]}})
		w.m.queue.Set(float64(w.outbox.length()))
		return true
	}
	return w.divide(ctx, batch)
}

// divide delivers a batch of which some alerts are invalid: those that look odd one by one, the others by halves.
func (w *worker) divide(ctx context.Context, batch []item) bool {
	var odd, plain []item
	for _, i := range batch {
		if looksOdd(i) {
			odd = append(odd, i)
		} else {
			plain = append(plain, i)
		}
	}
	if len(odd) == 0 {
		half := len(plain) / 2
		return w.deliver(ctx, plain[:half]) && w.deliver(ctx, plain[half:])
	}
	if len(plain) > 0 && !w.deliver(ctx, plain) {
		return false
	}
	for n := range odd {
		if !w.deliver(ctx, odd[n:n+1]) {
			return false
		}
	}
	return true
}

func (w *worker) post(ctx context.Context, batch []item) error {
	w.mu.Lock()
	poster := w.poster
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, w.opts.Timeout)
	defer cancel()
	return poster(ctx, postable(batch))
}

func (w *worker) settle(batch []item) {
	records := make([]record, len(batch))
	for n := range batch {
		records[n].Done = &batch[n]
	}
	w.change(func() { w.outbox.settle(batch) }, records)
	w.m.sent.Add(float64(len(batch)))
	w.m.success.SetToCurrentTime()
	w.m.queue.Set(float64(w.outbox.length()))
}

func (w *worker) sync() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.journal == nil {
		return
	}
	if err := w.journal.sync(); err != nil {
		w.m.unkept.Inc()
		w.log.Error("Alerts may not survive the machine", "err", fmt.Errorf("sync outbox %s: %w", w.file(), err))
	}
}

// dismiss ends w for good: what it has not delivered is nobody's any more.
func (w *worker) dismiss(running bool) error {
	w.leave()
	if running {
		<-w.ended
	}
	if n := w.outbox.length(); n > 0 {
		w.log.Warn("Alerts dropped: the Alertmanager was removed from the configuration", "count", n)
	}
	err := w.close()
	if w.opts.Dir != "" {
		err = errors.Join(err, os.Remove(w.file()))
	}
	w.m.remove()
	return err
}

// close closes the journal, as good as it is. The worker must not run.
func (w *worker) close() error {
	w.leave()
	w.sync()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.journal == nil {
		return nil
	}
	return w.journal.close()
}
