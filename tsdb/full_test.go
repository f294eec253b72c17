//go:build linux

package tsdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// small mounts a volume of the given size.
func small(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs to mount a tmpfs: run as root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room of the volume, and returns what gives it back.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() { remove(t, path) }
}

// big appends one sample with labels too long for a page of the log, so that a write can stop in the middle of a record.
func big(db *DB, n int, at int64) error {
	a := db.Appender(context.Background())
	value := make([]byte, 200_000)
	for i := range value {
		value[i] = byte('a' + (i*7+n*13+i/26)%26)
	}
	for i := range value { // incompressible enough
		value[i] = byte('a' + (int(value[i])*31+i*i+n)%26)
	}
	ls := labels.FromStrings(labels.MetricName, "big", "n", fmt.Sprint(n), "v", string(value))
	if _, err := a.Append(0, ls, at, 1); err != nil {
		return errors.Join(err, a.Rollback())
	}
	return a.Commit()
}

// E07: the volume fills up under the database, which is not warned; then there is room again, and a restart of either kind.
func TestVolumeFull(t *testing.T) {
	for _, row := range []struct {
		what    string
		minFree int64
	}{{"seen coming", 0}, {"in the middle of a write", -1}} {
		for _, end := range []string{"closed", "killed"} {
			t.Run(row.what+", then "+end, func(t *testing.T) {
				volume := small(t, "64m")
				dir := filepath.Join(volume, "data")
				db := open(t, dir, Options{MinFree: row.minFree})
				for n := range int64(20) {
					put(t, db, "before", 3, epoch+n)
				}
				empty := fill(t, volume)
				failed := false
				for n := range 20 {
					failed = errors.Join(big(db, n, epoch+100), tryPut(db, "during", 3, epoch+100+int64(n))) != nil || failed
				}
				if !failed || db.Health() == nil {
					t.Fatalf("the fault did not hit: health %v", db.Health())
				}
				if want := map[int64]error{0: ErrNoSpace, -1: ErrTorn}[row.minFree]; !errors.Is(db.Health(), want) {
					t.Errorf("health: %v, want %v", db.Health(), want)
				}
				empty()
				heal(t, db)
				for n := range int64(20) {
					put(t, db, "after", 3, epoch+1000+n)
				}
				before := count(t, db)
				if before["before"] != 60 || before["after"] != 60 {
					t.Errorf("samples: %v", before)
				}
				if end == "killed" {
					// What a killed process leaves is the directory as it is now.
					copied := filepath.Join(volume, "copy")
					if err := linkTree(dir, copied); err != nil {
						t.Fatal(err)
					}
					remove(t, filepath.Join(copied, "lock")) // a link to the one that is held
					dir = copied
				} else if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				again := open(t, dir, Options{MinFree: -1})
				if got := count(t, again); !maps.Equal(got, before) {
					t.Errorf("after the restart: %v, before %v", got, before)
				}
				if got := counterValueOf(t, again, "slowburn_tsdb_wal_damaged_total"); got != 0 {
					t.Errorf("the log was damaged")
				}
			})
		}
	}
}

// heal lets Run find that there is room again.
func heal(t *testing.T, db *DB) {
	t.Helper()
	db.heal(context.Background())
	if err := db.Health(); err != nil {
		t.Fatalf("still ill: %v", err)
	}
}

func TestRunHeals(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		free := uint64(1 << 30)
		db, err := Open(dir, Options{Space: func(string) (uint64, uint64, error) {
			mu.Lock()
			defer mu.Unlock()
			return free, 1 << 30, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- db.Run(ctx) }() // ends by cancel
		put(t, db, "up", 1, epoch)
		mu.Lock()
		free = 0
		mu.Unlock()
		db.tear(syscall.ENOSPC)
		time.Sleep(time.Minute)
		if err := db.Health(); !errors.Is(err, ErrTorn) {
			t.Errorf("health: %v", err)
		}
		mu.Lock()
		free = 1 << 30
		mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := db.Health(); err != nil {
			t.Errorf("health: %v", err)
		}
		put(t, db, "up", 1, epoch+1)
		wantCount(t, db, map[string]int{"up": 2})
		cancel()
		if err := errors.Join(<-done, db.Close()); err != nil {
			t.Error(err)
		}
	})
}
