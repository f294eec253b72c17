package tsdb

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
)

// Appender implements storage.Appendable. While nothing can be stored, all methods of what it returns say why.
func (db *DB) Appender(ctx context.Context) storage.Appender {
	t, err := db.begin()
	if err != nil {
		return refusingAppender{err}
	}
	app := t.g.db.Appender(ctx)
	t.inner = app
	return &appender{transaction: t, app: app}
}

// AppenderV2 implements storage.AppendableV2. While nothing can be stored, all methods of what it returns say why.
func (db *DB) AppenderV2(ctx context.Context) storage.AppenderV2 {
	t, err := db.begin()
	if err != nil {
		return refusingAppenderV2{err}
	}
	app := t.g.db.AppenderV2(ctx)
	t.inner = app
	return &appenderV2{transaction: t, app: app}
}

// transaction ends what both kinds of appender began: it watches for writes that the disk refused.
type transaction struct {
	inner storage.AppenderTransaction
	db    *DB
	g     *generation
	done  bool
}

// begin refuses a transaction that could not end well.
func (db *DB) begin() (*transaction, error) {
	g, err := db.enter()
	if err != nil {
		db.metrics.refused.Inc()
		return nil, err
	}
	if err := db.Health(); err != nil {
		db.leave(g)
		db.metrics.refused.Inc()
		return nil, err
	}
	return &transaction{db: db, g: g}, nil
}

// Commit implements storage.AppenderTransaction.
func (t *transaction) Commit() error {
	db := t.db
	db.mu.Lock()
	torn := db.torn
	db.mu.Unlock()
	if torn != nil {
		// What is written after a torn record is deleted at the next start.
		return fmt.Errorf("%w by %w", ErrTorn, joinRollback(torn, t.Rollback()))
	}
	return t.end(t.inner.Commit)
}

// Rollback implements storage.AppenderTransaction. It writes, too: the series that Append made.
func (t *transaction) Rollback() error { return t.end(t.inner.Rollback) }

func (t *transaction) end(how func() error) error {
	before := t.g.failures.count()
	err := how()
	// Upstream reports failures of the out-of-order log in its metrics alone, so those are asked.
	if t.g.failures.count() > before {
		t.db.tear(cause(err))
	}
	if !t.done {
		t.done = true
		t.db.leave(t.g)
	}
	return err
}

func cause(err error) error {
	if err == nil {
		return fmt.Errorf("a write to the out-of-order log that failed")
	}
	return err
}

func joinRollback(torn, rollback error) error {
	if rollback == nil {
		return torn
	}
	return fmt.Errorf("%w; roll back: %w", torn, rollback)
}

// Series references are tagged with the generation that gave them: the same number may mean another series after a
// reopening, and scrape loops keep theirs for ever. Upstream counts up from 1 and packs references into 40 bits.
const generationShift = 48

func (t *transaction) in(ref storage.SeriesRef) storage.SeriesRef {
	if uint64(ref)>>generationShift != t.g.number&0xffff {
		return 0
	}
	return ref & (1<<generationShift - 1)
}

// out is what upstream answered to an append. A sample too old for the out-of-order window is out of bounds, too: that is
// what upstream's scraper leaves out of a scrape. Of what is too old it knows nothing, and gives up the whole scrape.
func (t *transaction) out(ref storage.SeriesRef, err error) (storage.SeriesRef, error) {
	if errors.Is(err, storage.ErrTooOldSample) {
		err = fmt.Errorf("%w: %w", storage.ErrOutOfBounds, err)
	}
	if ref == 0 {
		return 0, err
	}
	return ref | storage.SeriesRef(t.g.number&0xffff<<generationShift), err
}

func (t *transaction) getRef(inner any, lset labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	g, ok := inner.(storage.GetRef)
	if !ok {
		return 0, labels.EmptyLabels()
	}
	ref, lset := g.GetRef(lset, hash)
	ref, _ = t.out(ref, nil)
	return ref, lset
}

type appender struct {
	*transaction
	app storage.Appender
}

func (a *appender) SetOptions(o *storage.AppendOptions) { a.app.SetOptions(o) }

func (a *appender) GetRef(lset labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	return a.getRef(a.app, lset, hash)
}

func (a *appender) Append(ref storage.SeriesRef, l labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	return a.out(a.app.Append(a.in(ref), l, t, v))
}

func (a *appender) AppendExemplar(ref storage.SeriesRef, l labels.Labels, e exemplar.Exemplar) (storage.SeriesRef, error) {
	return a.out(a.app.AppendExemplar(a.in(ref), l, e))
}

func (a *appender) AppendHistogram(ref storage.SeriesRef, l labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return a.out(a.app.AppendHistogram(a.in(ref), l, t, h, fh))
}

func (a *appender) AppendHistogramSTZeroSample(ref storage.SeriesRef, l labels.Labels, t, st int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return a.out(a.app.AppendHistogramSTZeroSample(a.in(ref), l, t, st, h, fh))
}

func (a *appender) UpdateMetadata(ref storage.SeriesRef, l labels.Labels, m metadata.Metadata) (storage.SeriesRef, error) {
	return a.out(a.app.UpdateMetadata(a.in(ref), l, m))
}

func (a *appender) AppendSTZeroSample(ref storage.SeriesRef, l labels.Labels, t, st int64) (storage.SeriesRef, error) {
	return a.out(a.app.AppendSTZeroSample(a.in(ref), l, t, st))
}

type appenderV2 struct {
	*transaction
	app storage.AppenderV2
}

func (a *appenderV2) GetRef(lset labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	return a.getRef(a.app, lset, hash)
}

func (a *appenderV2) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AppendV2Options) (storage.SeriesRef, error) {
	return a.out(a.app.Append(a.in(ref), ls, st, t, v, h, fh, opts))
}

// refusingAppender says of everything why it cannot be stored.
type refusingAppender struct{ err error }

func (r refusingAppender) SetOptions(*storage.AppendOptions) {}
func (r refusingAppender) Commit() error                     { return r.err }
func (r refusingAppender) Rollback() error                   { return nil }

func (r refusingAppender) Append(storage.SeriesRef, labels.Labels, int64, float64) (storage.SeriesRef, error) {
	return 0, r.err
}

func (r refusingAppender) AppendExemplar(storage.SeriesRef, labels.Labels, exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, r.err
}

func (r refusingAppender) AppendHistogram(storage.SeriesRef, labels.Labels, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, r.err
}

func (r refusingAppender) AppendHistogramSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, r.err
}

func (r refusingAppender) UpdateMetadata(storage.SeriesRef, labels.Labels, metadata.Metadata) (storage.SeriesRef, error) {
	return 0, r.err
}

func (r refusingAppender) AppendSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64) (storage.SeriesRef, error) {
	return 0, r.err
}

type refusingAppenderV2 struct{ err error }

func (r refusingAppenderV2) Commit() error   { return r.err }
func (r refusingAppenderV2) Rollback() error { return nil }

func (r refusingAppenderV2) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AppendV2Options) (storage.SeriesRef, error) {
	return 0, r.err
}
