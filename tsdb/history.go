package tsdb

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	promtsdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// HistoryOptions of OpenHistory and ReadOpenMetrics. The zero value works.
type HistoryOptions struct {
	Logger *slog.Logger
	// TempDir is where what is needed besides the history itself is put until Close, os.TempDir if empty.
	TempDir string
}

func (o HistoryOptions) withDefaults() HistoryOptions {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TempDir == "" {
		o.TempDir = os.TempDir()
	}
	return o
}

// History is a set of samples that does not change. Queriers may be open side by side, and must be closed before Close
// can end.
type History struct {
	blocks  []*historyBlock   // oldest first
	head    *promtsdb.DB      // what is in the write-ahead log; nil if there is none
	temp    string            // removed by Close; may be empty
	lock    fileutil.Releaser // of a cache that the blocks are in; may be nil
	damaged []string
	notes   []string
	mint    int64
	maxt    int64
	close   func() error
}

var (
	_ storage.Queryable      = (*History)(nil)
	_ storage.ChunkQueryable = (*History)(nil)
)

// OpenHistory opens a Prometheus data directory, or any directory of blocks, for reading; a Prometheus may be writing to
// it. Not a byte in it changes. Blocks that cannot be read are left out, and named by Damaged.
func OpenHistory(dir string, o HistoryOptions) (*History, error) {
	o = o.withDefaults()
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return nil, fmt.Errorf("open history %s: %w", dir, err)
	}
	h := newHistory()
	h.openBlocks(dir)
	if err := h.openLog(dir, o); err != nil {
		return nil, errors.Join(fmt.Errorf("open history %s: %w", dir, err), h.Close())
	}
	if len(h.blocks) == 0 && h.head == nil {
		reason := "no blocks and no write-ahead log: name a Prometheus data directory"
		if len(h.damaged) > 0 {
			reason = "nothing can be read:\n" + strings.Join(h.damaged, "\n")
		}
		return nil, errors.Join(fmt.Errorf("open history %s: %s", dir, reason), h.Close())
	}
	h.measure()
	return h, nil
}

func newHistory() *History {
	h := &History{}
	h.close = sync.OnceValue(h.closeAll)
	return h
}

// openBlocks opens what can be read. A damaged block that a compaction has replaced is not missed.
func (h *History) openBlocks(dir string) {
	failed := map[string]error{}
	for _, b := range blockDirs(dir) {
		block, err := openBlock(b)
		if err != nil {
			failed[filepath.Base(b)] = err
			continue
		}
		h.blocks = append(h.blocks, newHistoryBlock(block))
	}
	for _, b := range h.blocks {
		for _, parent := range b.Meta().Compaction.Parents {
			delete(failed, parent.ULID.String())
		}
	}
	for id, err := range failed {
		h.damaged = append(h.damaged, fmt.Sprintf("block %s: %v", id, err))
	}
	slices.Sort(h.damaged)
	slices.SortFunc(h.blocks, func(a, b *historyBlock) int { return int(min(max(a.MinTime()-b.MinTime(), -1), 1)) })
}

// openLog replays the write-ahead logs through links in a directory of our own: upstream's database opens those,
// and repairs them where they are damaged, without a byte of the logs being copied or changed.
func (h *History) openLog(dir string, o HistoryOptions) error {
	if _, last, err := wlog.Segments(filepath.Join(dir, "wal")); err != nil || last < 0 {
		return nil //nolint:nilerr // blocks only
	}
	temp, err := os.MkdirTemp(o.TempDir, "slowburn-history-")
	if err != nil {
		return err
	}
	h.temp = temp
	for _, name := range []string{"wal", wlog.WblDirName} {
		if err := symlinkTree(filepath.Join(dir, name), filepath.Join(temp, name)); err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	opts := Options{Retention: math.MaxInt64}.withDefaults().upstream()
	registry := prometheus.NewRegistry()
	db, err := promtsdb.Open(temp, o.Logger, registry, opts, nil)
	if err != nil {
		h.damaged = append(h.damaged, fmt.Sprintf("write-ahead log: %s", firstDamage(dir)))
		return nil //nolint:nilerr // the blocks can be read all the same, and the damage is told
	}
	db.DisableCompactions()
	h.head = db
	if counterValue(registry, "prometheus_tsdb_wal_corruptions_total") > 0 {
		h.damaged = append(h.damaged, fmt.Sprintf("write-ahead log: %s; what follows is left out", firstDamage(dir)))
	}
	return nil
}

// symlinkTree makes the folders below from below to, with a symbolic link for each file in them.
func symlinkTree(from, to string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasSuffix(name, ".tmp"): // a checkpoint that a running Prometheus is writing
		case e.IsDir():
			err = symlinkTree(filepath.Join(from, name), filepath.Join(to, name))
		default:
			err = os.Symlink(filepath.Join(from, name), filepath.Join(to, name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// measure finds the times of the first and last samples as the blocks and the log state them.
func (h *History) measure() {
	h.mint, h.maxt = math.MaxInt64, math.MinInt64
	for _, b := range h.blocks {
		h.mint, h.maxt = min(h.mint, b.MinTime()), max(h.maxt, b.MaxTime()-1)
	}
	if h.head != nil {
		head := h.head.Head()
		h.mint = min(h.mint, head.MinTime(), head.MinOOOTime())
		h.maxt = max(h.maxt, head.MaxTime(), head.MaxOOOTime())
	}
}

// Extent is the time of the first and of the last sample, in milliseconds. A block may state a little more than it holds.
// A history without samples ends before it begins.
func (h *History) Extent() (mint, maxt int64) { return h.mint, h.maxt }

// Damaged names what could not be read, one line each, with the reason. Chunks are checked when they are read: ask again
// when all has been.
func (h *History) Damaged() []string {
	all := slices.Clone(h.damaged)
	for _, b := range h.blocks {
		if line := b.damage(); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// Notes say what else is worth knowing, one line each: samples that were left out, and why.
func (h *History) Notes() []string { return h.notes }

// Querier implements storage.Queryable.
func (h *History) Querier(mint, maxt int64) (storage.Querier, error) {
	var queriers []storage.Querier
	fail := func(err error) (storage.Querier, error) {
		for _, q := range queriers {
			err = errors.Join(err, q.Close())
		}
		return nil, err
	}
	for _, b := range h.overlapping(mint, maxt) {
		q, err := promtsdb.NewBlockQuerier(b, mint, maxt)
		if err != nil {
			return fail(fmt.Errorf("open block %s: %w", b, err))
		}
		queriers = append(queriers, q)
	}
	if h.head != nil {
		q, err := h.head.Querier(mint, maxt)
		if err != nil {
			return fail(fmt.Errorf("open write-ahead log: %w", err))
		}
		queriers = append(queriers, q)
	}
	return storage.NewMergeQuerier(queriers, nil, storage.ChainedSeriesMerge), nil
}

// ChunkQuerier implements storage.ChunkQueryable.
func (h *History) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	var queriers []storage.ChunkQuerier
	fail := func(err error) (storage.ChunkQuerier, error) {
		for _, q := range queriers {
			err = errors.Join(err, q.Close())
		}
		return nil, err
	}
	for _, b := range h.overlapping(mint, maxt) {
		q, err := promtsdb.NewBlockChunkQuerier(b, mint, maxt)
		if err != nil {
			return fail(fmt.Errorf("open block %s: %w", b, err))
		}
		queriers = append(queriers, q)
	}
	if h.head != nil {
		q, err := h.head.ChunkQuerier(mint, maxt)
		if err != nil {
			return fail(fmt.Errorf("open write-ahead log: %w", err))
		}
		queriers = append(queriers, q)
	}
	merge := storage.NewCompactingChunkSeriesMergerWithFloatEncoding(storage.ChainedSeriesMerge,
		func() chunkenc.Encoding { return chunkenc.EncXOR })
	return storage.NewMergeChunkQuerier(queriers, nil, merge), nil
}

func (h *History) overlapping(mint, maxt int64) []*historyBlock {
	var blocks []*historyBlock
	for _, b := range h.blocks {
		if b.OverlapsClosedInterval(mint, maxt) {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// Close waits for queriers to end, and removes what was put into the temporary directory. Calling it again does nothing.
func (h *History) Close() error { return h.close() }

func (h *History) closeAll() error {
	var errs []error
	for _, b := range h.blocks {
		errs = append(errs, b.Close())
	}
	if h.head != nil {
		errs = append(errs, h.head.Close())
	}
	if h.temp != "" {
		errs = append(errs, os.RemoveAll(h.temp))
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Release())
	}
	return errors.Join(errs...)
}

// alignDown is the start of the width-wide range that t lies in, also before 1970.
func alignDown(t int64, width time.Duration) int64 {
	w := width.Milliseconds()
	return t - ((t%w)+w)%w
}
