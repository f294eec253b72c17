// Package tsdb keeps samples: it opens the embedded Prometheus TSDB so that damage and a full disk cost as little
// as they can, reads other people's histories without changing a byte of them, and imports one into the other.
// It evaluates nothing and knows no SLO.
package tsdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	promtsdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// Defaults of Options.
const (
	DefaultRetention        = 40 * 24 * time.Hour // a 30-day budget, and room to look back at it
	DefaultOutOfOrderWindow = 3 * time.Hour       // a clock step of an hour must cost no sample (FAULTS row 6)
)

// Errors that callers act on.
var (
	// ErrInUse is returned by Open and Import for a directory that another process, or another DB, holds.
	ErrInUse = errors.New("directory is in use")
	// ErrNoSpace is returned by appenders while the volume has less room left than Options.MinFree.
	ErrNoSpace = errors.New("volume is almost full")
	// ErrTorn is returned by appenders between a write that the disk refused and the reopening that heals it.
	ErrTorn = errors.New("write-ahead log is torn")
	// ErrReopening is returned while the database is being reopened; ask again in a moment.
	ErrReopening = errors.New("database is being reopened")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("database is closed")
)

// Options of Open. The zero value works.
type Options struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// Retention is how long samples are kept, DefaultRetention if zero.
	Retention time.Duration
	// MaxBytes bounds the size of the blocks; zero means no bound.
	MaxBytes int64
	// OutOfOrderWindow is how old a sample may be when it arrives, DefaultOutOfOrderWindow if zero, none if negative.
	OutOfOrderWindow time.Duration
	// MinFree is the room, in bytes, below which nothing is appended. Zero means 5 % of the volume,
	// at least 8 MiB and at most 512 MiB; a negative value switches the check off.
	MinFree int64
	// Space measures the volume of a directory; nil means the operating system's own answer.
	Space func(dir string) (free, size uint64, err error)
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.OutOfOrderWindow == 0 {
		o.OutOfOrderWindow = DefaultOutOfOrderWindow
	}
	if o.Space == nil {
		o.Space = volumeSpace
	}
	return o
}

// upstream is what Prometheus needs to hear of our options.
func (o Options) upstream() *promtsdb.Options {
	opts := promtsdb.DefaultOptions()
	opts.NoLockfile = true // DB holds the lock, so that it outlives a reopening
	opts.WALCompression = compression.Snappy
	opts.RetentionDuration = o.Retention.Milliseconds()
	opts.MaxBytes = o.MaxBytes
	opts.OutOfOrderTimeWindow = max(0, o.OutOfOrderWindow.Milliseconds())
	// A tenth of the retention at most, as Prometheus has it: else retention deletes more than it must.
	opts.MaxBlockDuration = max(opts.MinBlockDuration, min(opts.RetentionDuration/10, (31*24*time.Hour).Milliseconds()))
	// Upstream preallocates a whole segment of a block's chunks; at 512 MiB no small volume could ever compact.
	opts.MaxBlockChunkSegmentSize = 64 << 20
	// Upstream's periodic memory-mapping panics in its own goroutine where the disk is full. Run does it instead,
	// and only while there is room.
	opts.BlockReloadInterval = math.MaxInt64 / 2
	return opts
}

// DB is an open database directory. It implements storage.Storage and what upstream's web/api/v1 asks of a database.
//
// Appenders are refused while the volume is almost full, and from the first write that fails until Run has reopened
// the directory: what upstream writes after a torn record would be deleted at the next start.
// All methods may be called at once. Queriers and appenders must be ended before Close can end.
type DB struct {
	dir     string
	opts    Options
	metrics *metrics
	lock    fileutil.Releaser

	mu       sync.Mutex
	idle     *sync.Cond  // signalled when current.users falls to zero
	current  *generation // nil while reopening and after a reopening that failed
	state    error       // why there is no current generation: ErrReopening, ErrClosed or the failure
	torn     error       // the write that failed, nil while all is well
	number   uint64      // of the last generation
	notified wlog.WriteNotified
}

var _ storage.Storage = (*DB)(nil)

// Open opens the database in dir, and makes the directory if there is none. Where the write-ahead log is damaged, what
// upstream's repair would delete is kept aside in dir/wal.damaged-<time>; blocks that cannot be read are moved aside
// as <ULID>.damaged. Both are logged and counted, and neither keeps the database from opening.
func Open(dir string, o Options) (*DB, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("open tsdb %s: %w", dir, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open tsdb %s: %w", dir, err)
	}
	db := &DB{dir: dir, opts: o, lock: lock}
	db.idle = sync.NewCond(&db.mu)
	db.metrics = newMetrics(db)
	if err := db.openFirst(); err != nil {
		return nil, errors.Join(fmt.Errorf("open tsdb %s: %w", dir, err), lock.Release())
	}
	if err := db.metrics.register(o.Registerer); err != nil {
		return nil, errors.Join(fmt.Errorf("open tsdb %s: %w", dir, err), db.Close())
	}
	return db, nil
}

// lockDir takes the same lock as Prometheus takes, so that neither opens what the other has open.
// The file stays when the lock is released: removing it lets two processes lock two files of one name.
func lockDir(dir string) (fileutil.Releaser, error) {
	lock, _, err := fileutil.Flock(filepath.Join(dir, "lock"))
	if isLocked(err) {
		return nil, fmt.Errorf("%w: another process holds %s", ErrInUse, filepath.Join(dir, "lock"))
	}
	return lock, err
}

// Dir is the directory that was opened.
func (db *DB) Dir() string { return db.dir }

// Close waits for queriers and appenders to end, closes the database and releases the directory.
// Calling it again does nothing.
func (db *DB) Close() error {
	g, err := db.retire(context.Background(), ErrClosed)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	var closed error
	if g != nil {
		closed = g.close()
	}
	db.metrics.unregister(db.opts.Registerer)
	if err := errors.Join(closed, db.lock.Release()); err != nil {
		return fmt.Errorf("close tsdb %s: %w", db.dir, err)
	}
	return nil
}

// Querier implements storage.Queryable.
func (db *DB) Querier(mint, maxt int64) (storage.Querier, error) {
	g, err := db.enter()
	if err != nil {
		return nil, err
	}
	q, err := g.db.Querier(mint, maxt)
	if err != nil {
		db.leave(g)
		return nil, err
	}
	return &querier{Querier: q, leave: sync.OnceFunc(func() { db.leave(g) })}, nil
}

// ChunkQuerier implements storage.ChunkQueryable.
func (db *DB) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	g, err := db.enter()
	if err != nil {
		return nil, err
	}
	q, err := g.db.ChunkQuerier(mint, maxt)
	if err != nil {
		db.leave(g)
		return nil, err
	}
	return &chunkQuerier{ChunkQuerier: q, leave: sync.OnceFunc(func() { db.leave(g) })}, nil
}

// ExemplarQuerier implements storage.ExemplarQueryable. Exemplars are not stored: it finds none.
func (db *DB) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	return read(db, func(g *generation) (storage.ExemplarQuerier, error) { return g.db.ExemplarQuerier(ctx) })
}

// StartTime is the time of the oldest sample, in milliseconds.
func (db *DB) StartTime() (int64, error) {
	return read(db, func(g *generation) (int64, error) { return g.db.StartTime() })
}

// Extent returns the times of the oldest and the newest sample, in milliseconds; ok is false where there is none.
func (db *DB) Extent() (mint, maxt int64, ok bool) {
	g, err := db.enter()
	if err != nil {
		return 0, 0, false
	}
	defer db.leave(g)
	mint, maxt = min(g.db.Head().MinTime(), g.db.Head().MinOOOTime()), max(g.db.Head().MaxTime(), g.db.Head().MaxOOOTime())
	for _, m := range g.db.BlockMetas() {
		mint, maxt = min(mint, m.MinTime), max(maxt, m.MaxTime-1) // a block's end is exclusive
	}
	return mint, maxt, mint <= maxt
}

// CleanTombstones removes deleted samples from the blocks; it and those below are what web/api/v1 asks of a database.
func (db *DB) CleanTombstones() error {
	_, err := read(db, func(g *generation) (struct{}, error) { return struct{}{}, g.db.CleanTombstones() })
	return err
}

// Delete marks the samples that match between mint and maxt as deleted.
func (db *DB) Delete(ctx context.Context, mint, maxt int64, ms ...*labels.Matcher) error {
	_, err := read(db, func(g *generation) (struct{}, error) { return struct{}{}, g.db.Delete(ctx, mint, maxt, ms...) })
	return err
}

// Snapshot writes the blocks, and with withHead what is still in memory, to dir.
func (db *DB) Snapshot(dir string, withHead bool) error {
	_, err := read(db, func(g *generation) (struct{}, error) { return struct{}{}, g.db.Snapshot(dir, withHead) })
	return err
}

// Stats counts what is in memory by label.
func (db *DB) Stats(statsByLabelName string, limit int) (*promtsdb.Stats, error) {
	return read(db, func(g *generation) (*promtsdb.Stats, error) { return g.db.Head().Stats(statsByLabelName, limit), nil })
}

// WALReplayStatus says how far the replay of the last opening came; after Open that is to its end.
func (db *DB) WALReplayStatus() (promtsdb.WALReplayStatus, error) {
	return read(db, func(g *generation) (promtsdb.WALReplayStatus, error) {
		return g.stats.Head.WALReplayStatus.GetWALReplayStatus(), nil
	})
}

// BlockMetas describes the blocks, oldest first.
func (db *DB) BlockMetas() ([]promtsdb.BlockMeta, error) {
	return read(db, func(g *generation) ([]promtsdb.BlockMeta, error) { return g.db.BlockMetas(), nil })
}

// SetWriteNotified has wn told of each write, as remote write needs it; reopening keeps it.
func (db *DB) SetWriteNotified(wn wlog.WriteNotified) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.notified = wn
	if db.current != nil {
		db.current.db.SetWriteNotified(wn)
	}
}

// read runs f on the current generation, which cannot be closed meanwhile.
func read[T any](db *DB, f func(*generation) (T, error)) (T, error) {
	g, err := db.enter()
	if err != nil {
		var zero T
		return zero, err
	}
	defer db.leave(g)
	return f(g)
}

// querier is upstream's, keeping its generation open until it is closed.
type querier struct {
	storage.Querier
	leave func()
}

func (q *querier) Close() error {
	defer q.leave()
	return q.Querier.Close()
}

// chunkQuerier is upstream's, keeping its generation open until it is closed.
type chunkQuerier struct {
	storage.ChunkQuerier
	leave func()
}

func (q *chunkQuerier) Close() error {
	defer q.leave()
	return q.ChunkQuerier.Close()
}
