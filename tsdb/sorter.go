package tsdb

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

const (
	maxSpools   = 256 // files open at a time
	sampleBytes = 4 + 8 + 8
	fewSamples  = 4_000_000 // of a block, about 100 MiB while it is being written
)

// sorter takes samples in any order and writes them as blocks. Floats wait on disk, histograms in memory.
type sorter struct {
	dir      string // for both
	width    time.Duration
	together int               // how many widths may go into one block
	ids      map[string]uint32 // of series, by labels
	series   []labels.Labels
	spools   map[int64]*spool // by the start of their time
	doubles  int              // samples left out, because another stands at their time
}

func newSorter(dir string, width time.Duration, together int) *sorter {
	return &sorter{dir: dir, width: width, together: together, ids: map[string]uint32{}, spools: map[int64]*spool{}}
}

// intern numbers a series; it keeps a copy of the labels.
func (s *sorter) intern(ls labels.Labels) uint32 {
	key := string(ls.Bytes(nil))
	id, ok := s.ids[key]
	if !ok {
		id = uint32(len(s.series))
		s.series = append(s.series, ls.Copy())
		s.ids[key] = id
	}
	return id
}

func (s *sorter) spool(t int64) (*spool, error) {
	start := alignDown(t, s.width)
	if p, ok := s.spools[start]; ok {
		return p, nil
	}
	p := &spool{path: filepath.Join(s.dir, fmt.Sprintf("spool%d", start))}
	s.spools[start] = p
	if len(s.spools)%maxSpools == 0 {
		return p, s.rest()
	}
	return p, nil
}

// add takes a float.
func (s *sorter) add(id uint32, t int64, v float64) error {
	p, err := s.spool(t)
	if err != nil {
		return err
	}
	return p.add(id, t, v)
}

// addHistogram takes a histogram, of whichever kind is not nil.
func (s *sorter) addHistogram(id uint32, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) error {
	p, err := s.spool(t)
	if err != nil {
		return err
	}
	p.samples++
	p.histograms = append(p.histograms, spooled{id: id, sample: sample{t: t, h: h, fh: fh}})
	return nil
}

// rest closes all files, until they are needed again.
func (s *sorter) rest() error {
	var errs []error
	for _, p := range s.spools {
		errs = append(errs, p.rest())
	}
	return errors.Join(errs...)
}

// writeBlocks makes blocks of all samples. A block costs upstream some 60 ms however little it holds; so periods that
// follow each other share one, while they are few and hold little.
func (s *sorter) writeBlocks(ctx context.Context) error {
	starts := slices.Sorted(maps.Keys(s.spools))
	for len(starts) > 0 {
		n, samples := 1, s.spools[starts[0]].samples
		for n < len(starts) && starts[n]-starts[0] < int64(s.together)*s.width.Milliseconds() {
			if samples += s.spools[starts[n]].samples; samples > fewSamples {
				break
			}
			n++
		}
		if err := s.writeOne(ctx, starts[:n]); err != nil {
			return err
		}
		starts = starts[n:]
	}
	return nil
}

// writeOne makes one block of the periods that begin at starts.
func (s *sorter) writeOne(ctx context.Context, starts []int64) error {
	var floats []spooledFloat
	var histograms []spooled
	for _, start := range starts {
		p := s.spools[start]
		more, err := p.load()
		if err != nil {
			return err
		}
		floats, histograms = append(floats, more...), append(histograms, p.histograms...)
		if err := os.RemoveAll(p.path); err != nil {
			return err
		}
		delete(s.spools, start)
	}
	width := time.Duration(starts[len(starts)-1]-starts[0])*time.Millisecond + s.width
	return writeBlock(ctx, s.dir, width, func(add adder) error {
		refs := map[uint32]storage.SeriesRef{}
		return errors.Join(appendAll(ctx, s, floats, refs, add), appendAll(ctx, s, histograms, refs, add))
	})
}

// pending is a sample that waits, in one of two sizes.
type pending interface {
	series() uint32
	time() int64
	whole() sample
}

// appendAll appends the samples series by series in the order of their times, the first of those at the same time.
func appendAll[P pending](ctx context.Context, s *sorter, samples []P, refs map[uint32]storage.SeriesRef, add adder) error {
	slices.SortStableFunc(samples, func(a, b P) int {
		if a.series() != b.series() {
			return int(int64(a.series()) - int64(b.series()))
		}
		return int(min(max(a.time()-b.time(), -1), 1))
	})
	kept := slices.CompactFunc(samples, func(a, b P) bool { return a.series() == b.series() && a.time() == b.time() })
	s.doubles += len(samples) - len(kept)
	for n, p := range kept {
		if n%commitInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		ref, err := add(refs[p.series()], s.series[p.series()], p.whole())
		if err != nil {
			return fmt.Errorf("series %s: %w", s.series[p.series()], err)
		}
		refs[p.series()] = ref
	}
	return nil
}

// spooledFloat is a float that waits.
type spooledFloat struct {
	t  int64
	v  float64
	id uint32
}

func (p spooledFloat) series() uint32 { return p.id }
func (p spooledFloat) time() int64    { return p.t }
func (p spooledFloat) whole() sample  { return sample{t: p.t, v: p.v} }

// spooled is any sample that waits.
type spooled struct {
	sample
	id uint32
}

func (p spooled) series() uint32 { return p.id }
func (p spooled) time() int64    { return p.t }
func (p spooled) whole() sample  { return p.sample }

// spool is a file of floats, and a list of histograms. It opens itself as needed.
type spool struct {
	path       string
	samples    int
	file       *os.File
	buffer     *bufio.Writer
	histograms []spooled
}

func (s *spool) add(id uint32, t int64, v float64) error {
	s.samples++
	if s.file == nil {
		f, err := os.OpenFile(s.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
		if err != nil {
			return err
		}
		s.file, s.buffer = f, bufio.NewWriterSize(f, 1<<14)
	}
	var b [sampleBytes]byte
	binary.LittleEndian.PutUint32(b[0:], id)
	binary.LittleEndian.PutUint64(b[4:], uint64(t))
	binary.LittleEndian.PutUint64(b[12:], math.Float64bits(v))
	_, err := s.buffer.Write(b[:])
	return err
}

// rest writes out what is buffered and closes the file until the next sample.
func (s *spool) rest() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.buffer.Flush(), s.file.Close())
	s.file, s.buffer = nil, nil
	return err
}

func (s *spool) load() (samples []spooledFloat, err error) {
	if err := s.rest(); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // histograms only
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	samples = make([]spooledFloat, info.Size()/sampleBytes)
	in := bufio.NewReaderSize(f, 1<<16)
	var b [sampleBytes]byte
	for n := range samples {
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return nil, err
		}
		samples[n].id = binary.LittleEndian.Uint32(b[0:])
		samples[n].t = int64(binary.LittleEndian.Uint64(b[4:]))
		samples[n].v = math.Float64frombits(binary.LittleEndian.Uint64(b[12:]))
	}
	return samples, nil
}
