package tsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	promtsdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/fileutil"
)

const (
	importWidth    = 6 * time.Hour // of a block: one of upstream's own compaction ranges, so that it compacts further
	importWidest   = 54 * time.Hour
	importWriting  = "import.writing"
	importReady    = "import.ready"
	commitInterval = 10_000 // samples
)

// Selection is what an import takes of a history.
type Selection struct {
	Mint, Maxt int64               // milliseconds, both inclusive
	Selectors  [][]*labels.Matcher // series that match one of them; all series if there are none
}

// Imported is what an import copied.
type Imported struct {
	Series     int
	Samples    int64
	Mint, Maxt int64 // of the samples, in milliseconds; Mint is above Maxt where there are none
}

// Import copies the samples of src between mint and maxt (milliseconds, inclusive) into the database directory dir, as
// ImportSelection does.
func Import(ctx context.Context, src storage.Queryable, mint, maxt int64, dir string, progress func(done, total int)) error {
	_, err := ImportSelection(ctx, src, Selection{Mint: mint, Maxt: maxt}, dir, progress)
	return err
}

// ImportSelection copies what is selected of src into the database directory dir, which
// must not be open; it is made if there is none. Either all of it is there when it returns, or, on an error or
// however the process ends, nothing: blocks are written aside, and moved in by one renaming. Samples that are there already
// are kept once. Memory is bounded by what six hours hold, or four million
// samples. progress, which may be nil, is told how many of the six-hour
// parts are done.
func ImportSelection(ctx context.Context, src storage.Queryable, s Selection, dir string, progress func(done, total int)) (Imported, error) {
	i := &importing{Selection: s, src: src, progress: progress, series: map[uint64]struct{}{}}
	i.done.Mint, i.done.Maxt = math.MaxInt64, math.MinInt64
	if len(i.Selectors) == 0 {
		i.Selectors = [][]*labels.Matcher{allSeries()}
	}
	if err := i.into(ctx, dir); err != nil {
		return Imported{}, fmt.Errorf("import into %s: %w", dir, err)
	}
	i.done.Series = len(i.series)
	return i.done, nil
}

// Free tells whether an import into the database directory dir can begin: the error wraps ErrInUse where it is open.
// A directory that does not exist is made.
func Free(dir string) error {
	err := os.MkdirAll(dir, 0o777)
	if err == nil {
		var lock fileutil.Releaser
		if lock, err = lockDir(dir); err == nil {
			err = lock.Release()
		}
	}
	if err != nil {
		return fmt.Errorf("import into %s: %w", dir, err)
	}
	return nil
}

// importing is one import under way.
type importing struct {
	Selection
	src      storage.Queryable
	progress func(done, total int)
	series   map[uint64]struct{} // hashes of labels
	done     Imported
}

func (i *importing) into(ctx context.Context, dir string) (err error) {
	if i.Mint > i.Maxt {
		return errors.New("the history holds no samples")
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := finishImports(dir); err != nil {
		return err
	}
	writing := filepath.Join(dir, importWriting)
	defer func() { err = errors.Join(err, os.RemoveAll(writing)) }()
	if err := os.Mkdir(writing, 0o777); err != nil {
		return err
	}
	if err := i.copyBlocks(ctx, writing); err != nil {
		return err
	}
	if err := os.Rename(writing, filepath.Join(dir, importReady)); err != nil {
		return err
	}
	return finishImports(dir)
}

// copyBlocks copies period by period. A block costs upstream some 60 ms however little it holds; so where the last one
// held little the next is three times as wide, which is how upstream compacts.
func (i *importing) copyBlocks(ctx context.Context, dir string) error {
	first, last := alignDown(i.Mint, importWidth), alignDown(i.Maxt, importWidth)
	unit := importWidth.Milliseconds()
	total := int((last-first)/unit) + 1
	width := importWidth
	for from := first; from <= last; {
		samples, err := i.copyBlock(ctx, max(i.Mint, from), min(i.Maxt, from+width.Milliseconds()-1), width, dir)
		if err != nil {
			return err
		}
		from += width.Milliseconds()
		if i.progress != nil {
			i.progress(min(total, int((from-first)/unit)), total)
		}
		for width > importWidth && (samples > fewSamples || alignDown(from, width) != from) {
			width /= 3
			samples /= 3
		}
		if wider := 3 * width; wider <= importWidest && 3*samples <= fewSamples && alignDown(from, wider) == from {
			width = wider
		}
	}
	return nil
}

// finishImports removes an import that was not ready, and moves in the blocks of one that was. It is called with the
// directory locked, by Import and at each opening.
func finishImports(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, importWriting)); err != nil {
		return err
	}
	ready := filepath.Join(dir, importReady)
	entries, err := os.ReadDir(ready)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(ready, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(ready)
}

func allSeries() []*labels.Matcher {
	return []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".*")}
}

// copyBlock writes one block of the samples between mint and maxt into dir, or none where there are no samples.
func (i *importing) copyBlock(ctx context.Context, mint, maxt int64, width time.Duration, dir string) (samples int, err error) {
	q, err := i.src.Querier(mint, maxt)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	err = writeBlock(ctx, dir, width, func(add adder) error {
		set := i.selected(ctx, q, mint, maxt)
		var it chunkenc.Iterator
		for set.Next() {
			ls := set.At().Labels()
			it = set.At().Iterator(it)
			n, err := copySeries(ctx, ls, it, mint, maxt, i.counted(add))
			if err != nil {
				return err
			}
			if samples += n; n > 0 {
				i.series[ls.Hash()] = struct{}{}
			}
		}
		return set.Err()
	})
	i.done.Samples += int64(samples)
	return samples, err
}

// selected is the series that match one of the selectors, each once.
func (i *importing) selected(ctx context.Context, q storage.Querier, mint, maxt int64) storage.SeriesSet {
	var sets []storage.SeriesSet
	for _, matchers := range i.Selectors {
		sets = append(sets, q.Select(ctx, len(i.Selectors) > 1, &storage.SelectHints{Start: mint, End: maxt}, matchers...))
	}
	if len(sets) == 1 {
		return sets[0]
	}
	return storage.NewMergeSeriesSet(sets, 0, storage.ChainedSeriesMerge)
}

// counted notes the times of what is added.
func (i *importing) counted(add adder) adder {
	return func(ref storage.SeriesRef, ls labels.Labels, s sample) (storage.SeriesRef, error) {
		i.done.Mint, i.done.Maxt = min(i.done.Mint, s.t), max(i.done.Maxt, s.t)
		return add(ref, ls, s)
	}
}

func copySeries(ctx context.Context, ls labels.Labels, it chunkenc.Iterator, mint, maxt int64, add adder) (n int, err error) {
	ref := storage.SeriesRef(0)
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		t := it.AtT()
		if t < mint || t > maxt {
			continue
		}
		if ref, err = add(ref, ls, sampleAt(it, kind)); err != nil {
			return n, fmt.Errorf("series %s at %s: %w", ls, time.UnixMilli(t).UTC().Format(time.RFC3339), err)
		}
		n++
	}
	return n, it.Err()
}

// sample is a float, or one of the two kinds of histogram.
type sample struct {
	t  int64
	v  float64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

func sampleAt(it chunkenc.Iterator, kind chunkenc.ValueType) (s sample) {
	switch kind {
	case chunkenc.ValFloat:
		s.t, s.v = it.At()
	case chunkenc.ValHistogram:
		s.t, s.h = it.AtHistogram(nil)
	case chunkenc.ValFloatHistogram:
		s.t, s.fh = it.AtFloatHistogram(nil)
	default:
		panic("tsdb: samples of kind " + kind.String())
	}
	return s
}

// adder appends a sample of the series ls. The reference that it returns may be given with the next one.
type adder func(ref storage.SeriesRef, ls labels.Labels, s sample) (storage.SeriesRef, error)

// writeBlock has fill append samples, and writes them into dir as one block. The samples of a series must come in order.
func writeBlock(ctx context.Context, dir string, width time.Duration, fill func(adder) error) (err error) {
	// Upstream's writer takes nothing older than half its width before the newest sample; series come one after the other.
	w, err := promtsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, 2*width.Milliseconds())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	app := w.Appender(ctx)
	n := 0
	err = fill(func(ref storage.SeriesRef, ls labels.Labels, s sample) (storage.SeriesRef, error) {
		if n++; n%commitInterval == 0 {
			if err := app.Commit(); err != nil {
				return 0, err
			}
			app = w.Appender(ctx)
		}
		if s.h != nil || s.fh != nil {
			return app.AppendHistogram(ref, ls, s.t, s.h, s.fh)
		}
		return app.Append(ref, ls, s.t, s.v)
	})
	if err != nil {
		return errors.Join(err, app.Rollback())
	}
	if err := app.Commit(); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	id, err := w.Flush(ctx)
	if err != nil {
		return err
	}
	return markLate(filepath.Join(dir, id.String(), "meta.json"))
}

// markLate marks a block as one of samples that came late. Upstream otherwise refuses samples older than the newest block
// ends, and would drop those of the write-ahead log that an imported block overlaps.
func markLate(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var meta promtsdb.BlockMeta
	if err := json.Unmarshal(content, &meta); err != nil {
		return err
	}
	meta.Compaction.SetOutOfOrder()
	if content, err = json.MarshalIndent(meta, "", "\t"); err != nil {
		return err
	}
	temp := strings.TrimSuffix(path, ".json") + ".tmp"
	if err := os.WriteFile(temp, content, 0o666); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
