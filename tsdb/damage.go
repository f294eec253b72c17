package tsdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	promtsdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	logCopy       = "wal.before-open" // hard links to the logs while upstream opens them
	linkingSuffix = ".linking"        // of them while they are made
	doneSuffix    = ".done"           // of them while they are removed
	damagedInfix  = ".damaged"
	keptCopies    = 3 // of damaged logs; older ones are removed
)

// logDirs are the folders that upstream repairs by deleting.
func logDirs() []string { return []string{"wal", wlog.WblDirName, "chunks_head"} }

// openFirst opens the directory as it was found after a stop of any kind.
//
// Upstream's repair deletes all of the log that is newer than its first damage. Reading the log beforehand to know
// whether it will would cost a second replay at each start; so it is linked aside, which costs nothing (segments are
// never written to once a newer one exists), and the links are used only where upstream says that it repaired.
func (db *DB) openFirst() error {
	if err := finishImports(db.dir); err != nil {
		return err
	}
	db.setBlocksAside()
	if err := linkLogs(db.dir); err != nil {
		return fmt.Errorf("keep the write-ahead log aside: %w", err)
	}
	g, err := openGeneration(db.dir, db.opts, 0)
	switch {
	case err == nil && !g.repaired():
		db.install(g, nil)
		return dropCopy(db.dir)
	case err != nil && !looksDamaged(err):
		return errors.Join(err, dropCopy(db.dir))
	case err == nil:
		err = g.close()
	}
	return db.openDamaged(err)
}

// openDamaged opens without the damaged log, after all that can be read of it has been made blocks of. What upstream's
// repair leaves is not used: the numbers of series that it dropped would be given to new series, and with the start
// after that upstream would take the old ones' chunks and late samples for theirs.
func (db *DB) openDamaged(why error) error {
	log, from := db.opts.Logger, filepath.Join(db.dir, logCopy)
	db.metrics.walDamaged.Inc()
	damage := firstDamage(from)
	found, err := rescue(context.Background(), from, db.dir)
	if err != nil {
		log.Error("The samples of the damaged write-ahead log could not be rescued", "dir", db.dir, "err", err)
	}
	for _, name := range logDirs() {
		if err := os.RemoveAll(filepath.Join(db.dir, name)); err != nil {
			return err
		}
	}
	kept, err := keepCopy(db.dir)
	if err != nil {
		return fmt.Errorf("keep the damaged write-ahead log: %w", err)
	}
	log.Error("The write-ahead log was damaged: what can be read of it is rescued, a copy of it all is kept aside",
		"dir", db.dir, "copy", kept, "damage", damage, "rescued", found.samples, "unknown", found.unknown, "err", why)
	g, err := openGeneration(db.dir, db.opts, 0)
	if err != nil {
		return err
	}
	db.install(g, nil)
	return nil
}

// looksDamaged tells content that cannot be read from a system that does not let us read it.
func looksDamaged(err error) bool {
	for _, system := range []error{fs.ErrPermission, syscall.ENOSPC, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if errors.Is(err, system) {
			return false
		}
	}
	return true
}

// linkLogs links the logs below dir/wal.before-open. Where that exists already, a process was killed after it had made
// the links and before it appended anything: upstream may have repaired meanwhile, so the logs are put back first.
func linkLogs(dir string) error {
	to := filepath.Join(dir, logCopy)
	for _, half := range []string{to + linkingSuffix, to + doneSuffix} {
		if err := os.RemoveAll(half); err != nil {
			return err
		}
	}
	for _, name := range logDirs() {
		if !exists(filepath.Join(to, name)) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(to, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	for _, name := range logDirs() {
		if err := linkTree(filepath.Join(dir, name), filepath.Join(to+linkingSuffix, name)); err != nil {
			return err
		}
	}
	if !exists(to + linkingSuffix) {
		return os.Mkdir(to, 0o777) // there are no logs yet
	}
	return os.Rename(to+linkingSuffix, to)
}

// dropCopy removes the links, in one step as seen by linkLogs.
func dropCopy(dir string) error {
	from := filepath.Join(dir, logCopy)
	if err := os.Rename(from, from+doneSuffix); err != nil {
		return err
	}
	return os.RemoveAll(from + doneSuffix)
}

// linkTree links the files below from to the same places below to, and copies where the file system has no links.
// A folder that does not exist has no files.
func linkTree(from, to string) error {
	//nolint:gosec // the folder is our own, and locked: nobody swaps links under us
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == from {
			return fs.SkipAll
		}
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(path, from)
		if d.IsDir() {
			return os.MkdirAll(target, 0o777)
		}
		if os.Link(path, target) == nil {
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// keepCopy renames the links to wal.damaged-<time>, the time being when the log was last written to,
// and removes the oldest copies.
func keepCopy(dir string) (string, error) {
	from := filepath.Join(dir, logCopy)
	name := filepath.Join(dir, "wal"+damagedInfix+"-"+lastWrite(from).UTC().Format("20060102T150405Z"))
	to := name
	for i := 2; exists(to); i++ {
		to = fmt.Sprintf("%s-%d", name, i)
	}
	if err := os.Rename(from, to); err != nil {
		return from, err
	}
	copies, err := filepath.Glob(filepath.Join(dir, "wal"+damagedInfix+"-*"))
	if err != nil {
		return to, err
	}
	slices.SortFunc(copies, func(a, b string) int { return cmp.Or(lastWrite(a).Compare(lastWrite(b)), cmp.Compare(a, b)) })
	for _, old := range copies[:max(0, len(copies)-keptCopies)] {
		if old != to {
			err = errors.Join(err, os.RemoveAll(old))
		}
	}
	return to, err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// lastWrite is the time of the newest file below dir.
func lastWrite(dir string) (last time.Time) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // what cannot be read has no time
		}
		if info, err := d.Info(); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return nil
	})
	return last
}

// firstDamage names the first file of each kept log that cannot be read, and where, as upstream's reader has it.
func firstDamage(kept string) string {
	var found []string
	for _, name := range []string{"wal", wlog.WblDirName} {
		dirs, _ := filepath.Glob(filepath.Join(kept, name, "checkpoint.*")) // the pattern is good
		for _, dir := range append(dirs, filepath.Join(kept, name)) {
			if damage := firstDamagedSegment(dir); damage != nil {
				rel, _ := filepath.Rel(kept, dir)
				found = append(found, fmt.Sprintf("%s: %v", rel, damage))
			}
		}
	}
	if len(found) == 0 {
		return "its records are whole, but do not fit together"
	}
	return strings.Join(found, "; ")
}

func firstDamagedSegment(dir string) error {
	files := segments(dir)
	for n, file := range files {
		if n > 0 && number(file) != number(files[n-1])+1 {
			return fmt.Errorf("segment %08d: missing", number(files[n-1])+1)
		}
		s, err := wlog.OpenReadSegment(file)
		if err != nil {
			return err
		}
		r := wlog.NewReader(wlog.NewSegmentBufReader(s))
		for r.Next() {
		}
		if err := errors.Join(r.Err(), s.Close()); err != nil {
			return fmt.Errorf("segment %s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

func number(segment string) int {
	n, _ := strconv.Atoi(filepath.Base(segment)) // segments has only such names
	return n
}

// setBlocksAside renames the blocks that cannot be read to <ULID>.damaged, where upstream does not look:
// one such block keeps upstream from starting.
func (db *DB) setBlocksAside() {
	for _, dir := range blockDirs(db.dir) {
		b, err := openBlock(dir)
		if err == nil {
			err = b.Close()
		}
		if err == nil {
			continue
		}
		db.metrics.blocksDamaged.Inc()
		aside := dir + damagedInfix
		db.opts.Logger.Error("A block is damaged: its samples are missing, it is moved aside",
			"block", filepath.Base(dir), "to", aside, "err", errors.Join(err, os.Rename(dir, aside)))
	}
}

// blockDirs are the folders in dir that are named like blocks, oldest first.
func blockDirs(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var dirs []string
	for _, e := range entries {
		if _, err := ulid.ParseStrict(e.Name()); err == nil && e.IsDir() {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	return dirs
}

// openBlock opens a block for reading and checks that all series of its index can be read and that the chunks they
// point to are inside the block's files. Chunks carry checksums of their own, which are checked when they are read.
func openBlock(dir string) (*promtsdb.Block, error) {
	b, err := promtsdb.OpenBlock(nil, dir, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := checkIndex(b, dir); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func checkIndex(b *promtsdb.Block, dir string) (err error) {
	defer func() { // a flipped bit can lead upstream's decoder out of its buffer
		if p := recover(); p != nil {
			err = fmt.Errorf("read index: %v", p)
		}
	}()
	sizes, err := segmentSizes(filepath.Join(dir, "chunks"))
	if err != nil {
		return err
	}
	r, err := b.Index()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	name, value := index.AllPostingsKey()
	all, err := r.Postings(context.Background(), name, value)
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	series := uint64(0)
	builder := labels.NewScratchBuilder(0)
	var metas []chunks.Meta
	for ; all.Next(); series++ {
		if err := r.Series(all.At(), &builder, &metas); err != nil {
			return fmt.Errorf("read series %d of the index: %w", series, err)
		}
		if err := inside(metas, sizes); err != nil {
			return err
		}
	}
	if want := b.Meta().Stats.NumSeries; all.Err() == nil && want != 0 && want != series {
		return fmt.Errorf("the index holds %d series, meta.json says %d", series, want)
	}
	return all.Err()
}

// inside checks that each chunk begins inside its file.
func inside(metas []chunks.Meta, sizes []int64) error {
	for _, m := range metas {
		segment, offset := chunks.BlockChunkRef(m.Ref).Unpack()
		if segment >= len(sizes) || int64(offset) >= sizes[segment] {
			return fmt.Errorf("chunks/%06d is cut off or missing", segment+1)
		}
	}
	return nil
}

func segmentSizes(dir string) ([]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var sizes []int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, info.Size())
	}
	return sizes, nil
}
