package tsdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// flip flips one bit in each of n places spread over the file, the first at a third of it.
func flip(t *testing.T, path string, n int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := len(content)
	for end > 0 && content[end-1] == 0 { // the rest of a page is empty
		end--
	}
	for i := range n {
		content[end/3+i*(end-end/3)/n] ^= 1 << (i % 8)
	}
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
}

// logged fills a directory with ten segments of log: ten openings, each with ten samples of one series.
func logged(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for n := range int64(10) {
		db := open(t, dir, Options{})
		for i := range int64(10) {
			put(t, db, "up", 1, epoch+100*n+i)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDamagedLog(t *testing.T) {
	for _, row := range []struct {
		what string
		do   func(t *testing.T, dir string)
		want string // in the log
		keep int    // samples at least
	}{
		{"bits flipped in the first segment", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "wal", "00000000"), 8) }, "wal: segment 00000000", 0},
		{"bits flipped in the sixth segment", func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "wal", "00000005"), 8) }, "wal: segment 00000005", 90},
		{"a segment missing", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "wal", "00000005")) }, "segment 00000005: missing", 90},
		{"noise", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "wal", "00000000"), []byte(strings.Repeat("noise", 10_000)), 0o666); err != nil {
				t.Fatal(err)
			}
		}, "wal: segment 00000000", 0},
	} {
		t.Run(row.what, func(t *testing.T) {
			dir := logged(t)
			row.do(t, dir)
			before := map[string][]byte{}
			files, err := filepath.Glob(filepath.Join(dir, "wal", "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if before[filepath.Base(f)], err = os.ReadFile(f); err != nil {
					t.Fatal(err)
				}
			}
			log := &lines{}
			db := open(t, dir, Options{Logger: log.logger()})
			put(t, db, "new", 1, epoch+10_000)
			got := count(t, db)
			if got["new"] != 1 || got["up"] < row.keep {
				t.Errorf("samples: %v", got)
			}
			if !strings.Contains(log.String(), row.want) || !strings.Contains(log.String(), "a copy of it all is kept aside") {
				t.Errorf("log: %s", log)
			}
			copies, _ := filepath.Glob(filepath.Join(dir, "wal.damaged-*"))
			if len(copies) != 1 {
				t.Fatalf("copies: %v", copies)
			}
			for name, content := range before {
				kept, err := os.ReadFile(filepath.Join(copies[0], "wal", name))
				if err != nil || !bytes.Equal(kept, content) {
					t.Errorf("%s is not kept as it was: %v", name, err)
				}
			}
			if got := counterValueOf(t, db, "slowburn_tsdb_wal_damaged_total"); got != 1 {
				t.Errorf("metric: %v", got)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = open(t, dir, Options{})
			if again := count(t, db); again["new"] != 1 || again["up"] != got["up"] {
				t.Errorf("after another opening: %v, before %v", again, got)
			}
		})
	}
}

// A record can be larger than the page that is damaged, and a page larger than a record: what is lost is what stands on
// the damaged page and the records that cross its edges.
func TestDamageInTheMiddleOfASegment(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	for n := range int64(2000) {
		put(t, db, "up", 100, epoch+n*1000)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "wal", "00000000")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) < 20*logPage {
		t.Fatalf("%d bytes of log", len(content))
	}
	for n := range 8 {
		content[3*logPage+n*2*logPage+100*n] ^= 1
	}
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	db = open(t, dir, Options{Logger: log.logger()})
	if got := count(t, db)["up"]; got < 190_000 {
		t.Errorf("%d of 200,000 samples are left: %s", got, log)
	}
	if log := log.String(); !strings.Contains(log, "rescued=") || !strings.Contains(log, "unknown=0") {
		t.Errorf("log: %s", log)
	}
}

// A process that is killed while it opens leaves links; what upstream had repaired by then is put back.
func TestKilledWhileOpening(t *testing.T) {
	dir := logged(t)
	flip(t, filepath.Join(dir, "wal", "00000000"), 8)
	if err := linkLogs(dir); err != nil {
		t.Fatal(err)
	}
	g, err := openGeneration(dir, Options{}.withDefaults(), 0)
	if err != nil || !g.repaired() {
		t.Fatal(err)
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	db := open(t, dir, Options{})
	if copies, _ := filepath.Glob(filepath.Join(dir, "wal.damaged-*", "wal", "0*")); len(copies) < 10 {
		t.Errorf("kept: %v", copies)
	}
	put(t, db, "new", 1, epoch+10_000)
}

func FuzzReadSegment(f *testing.F) {
	dir := f.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		f.Fatal(err)
	}
	for n := range int64(20) {
		if err := tryPut(db, "up", 100, epoch+n); err != nil {
			f.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "wal", "00000000"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0, 100, 1})
	f.Add([]byte{70, 0, 3, 70, 9, 128})
	f.Add([]byte{0, 0, 3, 0, 1, 255, 0, 2, 255})
	f.Fuzz(func(t *testing.T, flips []byte) { // triples of place and bits
		damaged := bytes.Clone(content)
		for ; len(flips) >= 3; flips = flips[3:] {
			damaged[int(binary.BigEndian.Uint16(flips))%len(damaged)] ^= flips[2]
		}
		s := newSalvage(t.TempDir())
		if err := errors.Join(s.readSegment(damaged), s.rest()); err != nil {
			t.Error(err)
		}
		if s.found.samples > 20*100 {
			t.Errorf("%d samples out of 2,000", s.found.samples)
		}
	})
}
