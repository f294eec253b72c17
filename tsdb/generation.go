package tsdb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promtsdb "github.com/prometheus/prometheus/tsdb"
)

// generation is one opening of the directory. A DB outlives its generations: after a torn write the directory must be
// closed and replayed, because series and samples that upstream holds in memory are not in the log, and never would be.
type generation struct {
	number   uint64 // tags the series references that appenders hand out
	db       *promtsdb.DB
	stats    *promtsdb.DBStats
	registry *prometheus.Registry // upstream registers anew at each opening, which no shared registry allows
	failures writeFailures
	users    int // guarded by DB.mu
}

// openGeneration opens dir by upstream, and repairs it as upstream does.
func openGeneration(dir string, o Options, number uint64) (*generation, error) {
	g := &generation{number: number, stats: promtsdb.NewDBStats(), registry: prometheus.NewRegistry()}
	watched := &watchingRegisterer{Registerer: g.registry, failures: &g.failures}
	db, err := promtsdb.Open(dir, o.Logger, watched, o.upstream(), g.stats)
	if err != nil {
		return nil, err
	}
	g.db = db
	return g, nil
}

// repaired says whether upstream found the write-ahead log damaged when it opened.
func (g *generation) repaired() bool {
	return counterValue(g.registry, "prometheus_tsdb_wal_corruptions_total") > 0
}

// close closes the database. Upstream writes chunks out as it closes, and panics where the disk has no room for them;
// the write-ahead log holds their samples too, so that is no loss.
func (g *generation) close() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("close upstream database: %v", p)
		}
	}()
	return g.db.Close()
}

// enter returns the current generation and keeps it open until leave.
func (db *DB) enter() (*generation, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.current == nil {
		return nil, fmt.Errorf("tsdb %s: %w", db.dir, db.state)
	}
	db.current.users++
	return db.current, nil
}

func (db *DB) leave(g *generation) {
	db.mu.Lock()
	defer db.mu.Unlock()
	g.users--
	if g.users == 0 {
		db.idle.Broadcast()
	}
}

// retire takes the current generation away, for the reason why, and waits until nobody uses it.
// When ctx ends first, it gives the generation back and returns the context's error.
func (db *DB) retire(ctx context.Context, why error) (*generation, error) {
	defer context.AfterFunc(ctx, db.wake)()
	db.mu.Lock()
	defer db.mu.Unlock()
	if errors.Is(db.state, ErrClosed) || errors.Is(db.state, ErrReopening) && errors.Is(why, ErrReopening) {
		return nil, db.state
	}
	for errors.Is(db.state, ErrReopening) {
		db.idle.Wait()
	}
	g := db.current
	db.current, db.state = nil, why
	for g != nil && g.users > 0 {
		if ctx.Err() != nil {
			db.current, db.state = g, nil
			db.idle.Broadcast()
			return nil, ctx.Err()
		}
		db.idle.Wait()
	}
	return g, nil
}

func (db *DB) wake() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.idle.Broadcast()
}

// install makes g current, or says why there is none.
func (db *DB) install(g *generation, failure error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.current, db.state = g, failure
	if g != nil {
		db.torn = nil
		if db.notified != nil {
			g.db.SetWriteNotified(db.notified)
		}
	}
	db.idle.Broadcast()
}

// tear remembers that a write failed. Until the directory has been reopened nothing more is appended.
func (db *DB) tear(cause error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.torn == nil {
		db.torn = cause
		db.metrics.torn.Inc()
	}
}

// Health is nil while samples are being stored. Else it says in one line why they are not, and what to do.
func (db *DB) Health() error {
	db.mu.Lock()
	state, torn := db.state, db.torn
	db.mu.Unlock()
	switch {
	case state != nil:
		return fmt.Errorf("tsdb %s: %w", db.dir, state)
	case torn != nil:
		return fmt.Errorf("tsdb %s: %w by %w: nothing is stored until there is room again", db.dir, ErrTorn, torn)
	}
	return db.room()
}

// Intervals of Run. Series are mapped to disk as often as upstream does it.
const (
	healInterval  = time.Second
	mapInterval   = time.Minute
	drainPatience = 10 * time.Second
)

// Run looks after the open database until ctx is cancelled: it reopens it after a torn write as soon as there is room,
// and moves full chunks from memory to disk while there is. Without it the database works, but does neither.
func (db *DB) Run(ctx context.Context) error {
	heal := time.NewTicker(healInterval)
	defer heal.Stop()
	mapping := time.NewTicker(mapInterval)
	defer mapping.Stop()
	ill := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-mapping.C:
			db.mapChunks()
		case <-heal.C:
			db.heal(ctx)
			ill = db.report(ill)
		}
	}
}

// report logs when health changes, and returns whether it is bad.
func (db *DB) report(was bool) bool {
	err := db.Health()
	switch {
	case err != nil && !was:
		db.opts.Logger.Error("Samples are not being stored", "err", err)
	case err == nil && was:
		db.opts.Logger.Info("Samples are being stored again", "dir", db.dir)
	}
	return err != nil
}

func (db *DB) mapChunks() {
	g, err := db.enter()
	if err != nil {
		return
	}
	defer db.leave(g)
	if db.room() == nil {
		g.db.ForceHeadMMap()
	}
}

// heal reopens the directory if a write has failed and there is room again.
func (db *DB) heal(ctx context.Context) {
	db.mu.Lock()
	needed := db.torn != nil || db.current == nil && db.state != nil && !errors.Is(db.state, ErrClosed)
	db.mu.Unlock()
	if !needed || db.room() != nil {
		return
	}
	if err := db.reopen(ctx); err != nil && ctx.Err() == nil {
		db.opts.Logger.Error("Reopening after a failed write did not succeed; trying again", "dir", db.dir, "err", err)
	}
}

// reopen closes the current generation and opens the next, whose replay drops the torn record at the end of the log.
func (db *DB) reopen(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	old, err := db.retire(patience, ErrReopening)
	if err != nil {
		return fmt.Errorf("wait for queries to end: %w", err)
	}
	if old != nil {
		if err := old.close(); err != nil {
			db.opts.Logger.Warn("Closing before a reopening", "dir", db.dir, "err", err)
		}
	}
	db.number++
	g, err := openGeneration(db.dir, db.opts, db.number)
	db.install(g, err)
	if err != nil {
		return err
	}
	db.metrics.reopened.Inc()
	db.opts.Logger.Info("Reopened after a failed write", "dir", db.dir)
	return nil
}
