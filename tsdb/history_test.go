package tsdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// fingerprint is a hash of every byte, name and time below dir.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path, info.Mode(), info.ModTime().UnixNano(), info.Size())
		if d.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		sum.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// world is a data directory with blocks, a write-ahead log and a late sample in memory.
// It holds 5 × 3 samples in blocks, 3 in the log and 1 late.
func world(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	db := open(t, dir, Options{})
	for hour := range 5 {
		put(t, db, "up", 3, epoch+int64(hour)*2*time.Hour.Milliseconds())
	}
	if err := db.current.db.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	put(t, db, "up", 3, epoch+10*time.Hour.Milliseconds())
	put(t, db, "late", 1, epoch+9*time.Hour.Milliseconds())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(blockDirs(dir)); n < 2 {
		t.Fatalf("%d blocks", n)
	}
	return dir
}

func openHistory(t *testing.T, dir string) *History {
	t.Helper()
	h, err := OpenHistory(dir, HistoryOptions{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestHistoryOfADataDirectory(t *testing.T) {
	dir := world(t)
	before := fingerprint(t, dir)
	temp := t.TempDir()
	h, err := OpenHistory(dir, HistoryOptions{TempDir: temp})
	if err != nil {
		t.Fatal(err)
	}
	if mint, maxt := h.Extent(); mint != epoch || maxt != epoch+10*time.Hour.Milliseconds() {
		t.Errorf("extent %d %d", mint-epoch, maxt-epoch)
	}
	// Queriers stay open side by side.
	q, err := h.Querier(0, 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := tryCount(h)
			if want := map[string]int{"up": 18, "late": 1}; err != nil || !maps.Equal(got, want) {
				t.Errorf("got %v %v", got, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(q.Close(), h.Close(), h.Close()); err != nil {
		t.Error(err)
	}
	if h.Damaged() != nil {
		t.Errorf("damaged: %v", h.Damaged())
	}
	if after := fingerprint(t, dir); after != before {
		t.Error("the directory has changed")
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestHistoryOfBareBlocks(t *testing.T) {
	from := world(t)
	dir := t.TempDir()
	for _, b := range blockDirs(from) {
		if err := os.Rename(b, filepath.Join(dir, filepath.Base(b))); err != nil {
			t.Fatal(err)
		}
	}
	h := openHistory(t, dir)
	if got := count(t, h)["up"]; got < 6 || got%3 != 0 {
		t.Errorf("%d samples", got)
	}
	q, err := h.ChunkQuerier(0, 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(context.Background(), true, nil, allSeries()...)
	series := 0
	for set.Next() {
		series++
	}
	if series != 3 || set.Err() != nil {
		t.Errorf("%d series of chunks, %v", series, set.Err())
	}
}

func TestHistoryWithoutAnything(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		empty:                        "no blocks and no write-ahead log",
		file:                         "not a directory",
		filepath.Join(empty, "none"): "no such file",
	} {
		_, err := OpenHistory(path, HistoryOptions{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestHistoryWithDamage(t *testing.T) {
	flipIndex := func(t *testing.T, block string) { flip(t, filepath.Join(block, "index"), 8) }
	for _, row := range []struct {
		what   string
		damage func(t *testing.T, block string)
		want   string
	}{
		{"flipped bits in the index", flipIndex, ""},
		{"chunks cut short", func(t *testing.T, block string) { truncate(t, filepath.Join(block, "chunks", "000001"), 9) }, "chunks/000001 is cut off or missing"},
		{"chunks missing", func(t *testing.T, block string) { remove(t, filepath.Join(block, "chunks", "000001")) }, "chunks/000001 is cut off or missing"},
		{"no meta.json", func(t *testing.T, block string) { remove(t, filepath.Join(block, "meta.json")) }, "meta.json"},
		{"no index", func(t *testing.T, block string) { remove(t, filepath.Join(block, "index")) }, "index"},
	} {
		t.Run(row.what, func(t *testing.T) {
			dir := world(t)
			block := blockDirs(dir)[0]
			row.damage(t, block)
			h := openHistory(t, dir)
			if d := h.Damaged(); len(d) != 1 || !strings.Contains(d[0], filepath.Base(block)) || !strings.Contains(d[0], row.want) {
				t.Errorf("damaged: %v", d)
			}
			if got := count(t, h)["up"]; got < 9 {
				t.Errorf("%d samples left", got)
			}
			// The same directory opens for writing, too, and the block is set aside.
			log := &lines{}
			db := open(t, dir, Options{Logger: log.logger()})
			put(t, db, "new", 1, epoch+11*time.Hour.Milliseconds())
			if got := count(t, db); got["up"] < 9 || got["new"] != 1 {
				t.Errorf("after opening: %v", got)
			}
			if !strings.Contains(log.String(), filepath.Base(block)) || !exists(block+damagedInfix) {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// A file that is cut off after the opening is a line of damage. Were it mapped, reading it would end the process.
func TestHistoryIsCutOffWhileItIsRead(t *testing.T) {
	dir := world(t)
	block := blockDirs(dir)[0]
	h := openHistory(t, dir)
	truncate(t, filepath.Join(block, "chunks", "000001"), 20)
	if got := count(t, h)["up"]; got < 9 {
		t.Errorf("%d samples left", got)
	}
	if d := h.Damaged(); len(d) != 1 || !strings.Contains(d[0], filepath.Base(block)) || !strings.Contains(d[0], "chunks/000001") {
		t.Errorf("damaged: %v", d)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func TestHistoryWithDamagedLog(t *testing.T) {
	dir := world(t)
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "0*"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	flip(t, segments[0], 8)
	before := fingerprint(t, dir)
	h := openHistory(t, dir)
	if d := h.Damaged(); len(d) != 1 || !strings.Contains(d[0], "write-ahead log: wal: segment") {
		t.Errorf("damaged: %v", d)
	}
	if got := count(t, h)["up"]; got < 6 {
		t.Errorf("%d samples left", got)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if fingerprint(t, dir) != before {
		t.Error("the directory has changed")
	}
}

func TestImport(t *testing.T) {
	h := openHistory(t, world(t))
	mint, maxt := h.Extent()
	dir := t.TempDir()
	db := open(t, dir, Options{})
	put(t, db, "own", 1, epoch+time.Hour.Milliseconds()) // older than what is imported, and only in the log
	if err := Import(context.Background(), h, mint, maxt, dir, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("import into an open database: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var steps []string
	progress := func(done, total int) { steps = append(steps, fmt.Sprint(done, "/", total)) }
	for range 2 { // the second time nothing is added
		if err := Import(context.Background(), h, mint, maxt, dir, progress); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(steps, " "); got != "1/2 2/2 1/2 2/2" {
		t.Errorf("progress: %s", got)
	}
	db = open(t, dir, Options{})
	wantCount(t, db, map[string]int{"up": 18, "late": 1, "own": 1})
	put(t, db, "own", 1, epoch+2*time.Hour.Milliseconds()) // the database still takes what is older than the import
	if err := db.current.db.Compact(context.Background()); err != nil {
		t.Error(err)
	}
	wantCount(t, db, map[string]int{"up": 18, "late": 1, "own": 2})
}

func TestImportKeepsHistograms(t *testing.T) {
	src := open(t, t.TempDir(), Options{})
	a := src.Appender(context.Background())
	ls := labels.FromStrings(labels.MetricName, "h")
	for n := range int64(5) {
		if _, err := a.AppendHistogram(0, ls, epoch+n, tsdbutil.GenerateTestHistogram(n), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := a.AppendHistogram(0, labels.FromStrings(labels.MetricName, "fh"), epoch+n, nil, tsdbutil.GenerateTestFloatHistogram(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Import(context.Background(), src, epoch, epoch+10, dir, nil); err != nil {
		t.Fatal(err)
	}
	wantCount(t, openHistory(t, dir), map[string]int{"h": 5, "fh": 5})
}

// stopping is a queryable that fails once it was asked often enough, as an interruption would have it.
type stopping struct {
	storage.Queryable
	after int
	stop  func()
}

func (s *stopping) Querier(mint, maxt int64) (storage.Querier, error) {
	if s.after--; s.after < 0 {
		s.stop()
	}
	return s.Queryable.Querier(mint, maxt)
}

func TestInterruptedImportLeavesNothing(t *testing.T) {
	h := openHistory(t, world(t))
	mint, maxt := h.Extent()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	err := Import(ctx, &stopping{Queryable: h, after: 1, stop: cancel}, mint, maxt, dir, nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("import: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 { // the lock
		t.Errorf("left behind: %v", left)
	}
	// Killed while writing: what lies there is removed. Killed while moving in: the rest is moved in.
	if err := os.Mkdir(filepath.Join(dir, importWriting), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Import(context.Background(), h, mint, maxt, dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, importReady), 0o777); err != nil {
		t.Fatal(err)
	}
	block := blockDirs(dir)[0]
	if err := os.Rename(block, filepath.Join(dir, importReady, filepath.Base(block))); err != nil {
		t.Fatal(err)
	}
	db := open(t, dir, Options{})
	wantCount(t, db, map[string]int{"up": 18, "late": 1})
	if exists(filepath.Join(dir, importReady)) || exists(filepath.Join(dir, importWriting)) {
		t.Error("the import's folders are still there")
	}
}
