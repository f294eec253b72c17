package tsdb

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is the time of the first sample in these tests; it lies on a block's edge.
const epoch = int64(1_700_006_400_000)

func open(t *testing.T, dir string, o Options) *DB {
	t.Helper()
	db, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// put appends one sample per series: name{n="0"}, name{n="1"} … = at.
func put(t *testing.T, app storage.Appendable, name string, series int, at int64) {
	t.Helper()
	if err := tryPut(app, name, series, at); err != nil {
		t.Fatal(err)
	}
}

func tryPut(app storage.Appendable, name string, series int, at int64) error {
	a := app.Appender(context.Background())
	for n := range series {
		ls := labels.FromStrings(labels.MetricName, name, "n", string(rune('0'+n%10))+strings.Repeat("x", n/10))
		if _, err := a.Append(0, ls, at, float64(at)); err != nil {
			return errors.Join(err, a.Rollback())
		}
	}
	return a.Commit()
}

// count returns the number of samples by metric name.
func count(t *testing.T, q storage.Queryable) map[string]int {
	t.Helper()
	found, err := tryCount(q)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func tryCount(q storage.Queryable) (map[string]int, error) {
	querier, err := q.Querier(0, 1<<62)
	if err != nil {
		return nil, err
	}
	defer querier.Close()
	found := map[string]int{}
	set := querier.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			found[set.At().Labels().Get(labels.MetricName)]++
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
	}
	return found, set.Err()
}

func wantCount(t *testing.T, q storage.Queryable, want map[string]int) {
	t.Helper()
	if got := count(t, q); !maps.Equal(got, want) {
		t.Errorf("samples: got %v, want %v", got, want)
	}
}

// lines is a logger that keeps what it was told.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestSamplesSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	put(t, db, "up", 3, epoch)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Querier(0, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("querier after Close: %v", err)
	}
	if err := tryPut(db, "up", 1, epoch+1); !errors.Is(err, ErrClosed) {
		t.Errorf("append after Close: %v", err)
	}
	db = open(t, dir, Options{})
	put(t, db, "up", 3, epoch+15_000)
	wantCount(t, db, map[string]int{"up": 6})
	mint, maxt, ok := db.Extent()
	if mint != epoch || maxt != epoch+15_000 || !ok {
		t.Errorf("extent %d %d %v", mint, maxt, ok)
	}
	if copies, _ := filepath.Glob(filepath.Join(dir, "wal?*")); len(copies) > 0 {
		t.Errorf("left behind: %v", copies)
	}
}

func TestLateSamplesAreTaken(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	put(t, db, "up", 1, epoch)
	put(t, db, "up", 1, epoch-2*time.Hour.Milliseconds())
	if err := tryPut(db, "up", 1, epoch-4*time.Hour.Milliseconds()); !errors.Is(err, storage.ErrTooOldSample) || !errors.Is(err, storage.ErrOutOfBounds) {
		t.Errorf("four hours late: %v", err)
	}
	wantCount(t, db, map[string]int{"up": 2})
}

func TestOneDirectoryOneOwner(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	put(t, db, "up", 1, epoch)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			start := time.Now()
			_, err := Open(dir, Options{})
			if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
				t.Errorf("second Open: %v", err)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
	wg.Wait()
	wantCount(t, db, map[string]int{"up": 1})
}

func TestMetricsStandBesideUpstreams(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	db := open(t, t.TempDir(), Options{Registerer: reg})
	put(t, db, "up", 1, epoch)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	for _, want := range []string{"prometheus_tsdb_head_samples_appended_total", "slowburn_tsdb_healthy", "slowburn_tsdb_torn_writes_total"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := reg.Gather(); err != nil {
		t.Errorf("gather after Close: %v", err)
	}
}

func TestReferencesEndWithTheirGeneration(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	a := db.AppenderV2(context.Background())
	lost := labels.FromStrings(labels.MetricName, "lost")
	ref, err := a.Append(0, lost, 0, epoch, 1, nil, nil, storage.AppendV2Options{})
	if err != nil || ref == 0 {
		t.Fatal(ref, err)
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	db.tear(errors.New("test"))
	if err := tryPut(db, "up", 1, epoch); !errors.Is(err, ErrTorn) {
		t.Errorf("append to a torn log: %v", err)
	}
	if err := db.reopen(context.Background()); err != nil {
		t.Fatal(err)
	}
	// A scrape loop goes on with the reference of before and labels that must decide now.
	a = db.AppenderV2(context.Background())
	if _, err := a.Append(ref, labels.FromStrings(labels.MetricName, "up"), 0, epoch+1, 1, nil, nil, storage.AppendV2Options{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	wantCount(t, db, map[string]int{"lost": 1, "up": 1})
}

func TestReopeningWaitsForQueries(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	put(t, db, "up", 1, epoch)
	q, err := db.Querier(0, 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := db.reopen(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("reopened under a query: %v", err)
	}
	wantCount(t, db, map[string]int{"up": 1}) // given back
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.reopen(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantCount(t, db, map[string]int{"up": 1})
}

func TestRunReturns(t *testing.T) {
	db := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- db.Run(ctx) }() // ends by cancel
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNothingIsAppendedBelowTheMark(t *testing.T) {
	free := uint64(100 << 20)
	var mu sync.Mutex
	db := open(t, t.TempDir(), Options{Space: func(string) (uint64, uint64, error) {
		mu.Lock()
		defer mu.Unlock()
		return free, 1 << 30, nil
	}})
	put(t, db, "up", 1, epoch)
	mu.Lock()
	free = 10 << 20
	mu.Unlock()
	if err := tryPut(db, "up", 1, epoch+1); !errors.Is(err, ErrNoSpace) {
		t.Errorf("append: %v", err)
	}
	a := db.AppenderV2(context.Background())
	if _, err := a.Append(0, labels.FromStrings(labels.MetricName, "up"), 0, epoch+1, 1, nil, nil, storage.AppendV2Options{}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("append: %v", err)
	}
	if err := db.Health(); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "10 MiB free, 51 MiB needed") {
		t.Errorf("health: %v", err)
	}
	mu.Lock()
	free = 60 << 20
	mu.Unlock()
	if err := db.Health(); err != nil {
		t.Errorf("health: %v", err)
	}
	put(t, db, "up", 1, epoch+2)
	wantCount(t, db, map[string]int{"up": 2})
}

func TestFreeMark(t *testing.T) {
	for _, row := range []struct {
		configured int64
		size, want uint64
	}{
		{0, 64 << 20, 8 << 20},
		{0, 4 << 30, (4 << 30) / 20},
		{0, 4 << 40, 512 << 20},
		{123, 4 << 40, 123},
	} {
		if got := freeMark(row.configured, row.size); got != row.want {
			t.Errorf("freeMark(%d, %d) = %d, want %d", row.configured, row.size, got, row.want)
		}
	}
}

func TestUnusableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, Options{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("open a file: %v", err)
	}
}

// counterValueOf reads one of our own metrics.
func counterValueOf(t *testing.T, db *DB, name string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	if err := db.metrics.register(reg); err != nil {
		t.Fatal(err)
	}
	return counterValue(reg, name)
}
