package tsdb

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/storage"
)

const (
	textWidth   = 6 * time.Hour // of a block made of text
	textPiece   = 1 << 20       // bytes parsed at a time
	maxLine     = 1 << 20
	maxSpools   = 256 // files open at a time
	maxBlocks   = 10_000
	sampleBytes = 4 + 8 + 8
	eofLine     = "# EOF"
)

// ReadOpenMetrics makes a History of a file in OpenMetrics text, compressed by gzip if its name ends in .gz.
// Every sample needs a timestamp, and the file its final # EOF. Samples may come in any order; of two at the same time
// the first counts, and Notes says how many were left out. Errors stand at file:line. Memory is bounded by six hours'
// samples and the labels of all series; what is read is kept in HistoryOptions.TempDir until Close.
func ReadOpenMetrics(ctx context.Context, path string, o HistoryOptions) (*History, error) {
	temp, err := os.MkdirTemp(o.withDefaults().TempDir, "slowburn-openmetrics-")
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	h := newHistory()
	h.temp = temp
	if err := h.readText(ctx, path); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.measure()
	return h, nil
}

// readText makes blocks of a text in h's own directory, and opens them.
func (h *History) readText(ctx context.Context, path string) error {
	r := &reader{
		name: path, dir: h.temp, table: labels.NewSymbolTable(),
		written: map[string]uint32{}, ids: map[string]uint32{}, spools: map[int64]*spool{},
	}
	if err := r.readFile(ctx, path); err != nil {
		return errors.Join(err, r.close())
	}
	if err := r.writeBlocks(ctx); err != nil {
		return errors.Join(fmt.Errorf("read %s: %w", path, err), r.close())
	}
	if r.doubles > 0 {
		h.notes = append(h.notes, fmt.Sprintf("%s: %d samples left out: another of the same series stands at the same time", path, r.doubles))
	}
	h.openBlocks(h.temp)
	if len(h.damaged) > 0 {
		return fmt.Errorf("read %s: %s", path, strings.Join(h.damaged, "; "))
	}
	return nil
}

// reader sorts the samples of a text into spools, one for each block to be.
type reader struct {
	name    string
	dir     string
	line    int
	table   *labels.SymbolTable
	written map[string]uint32 // numbers of series by what stands in the text
	ids     map[string]uint32 // by labels
	series  []labels.Labels
	spools  map[int64]*spool
	doubles int
	ended   bool
}

func (r *reader) readFile(ctx context.Context, path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read openmetrics: %w", err)
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		defer z.Close()
		in = z
	}
	return r.read(ctx, in)
}

// read cuts the text into pieces of whole lines: upstream's parser wants all of what it parses in memory.
func (r *reader) read(ctx context.Context, in io.Reader) error {
	lines := bufio.NewReaderSize(in, maxLine)
	var piece []byte
	first := 1
	for {
		line, err := lines.ReadSlice('\n')
		r.line++
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("%s:%d: line longer than %d bytes", r.name, r.line, maxLine)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s:%d: %w", r.name, r.line, err)
		}
		last := err != nil
		switch {
		case r.ended && len(bytes.TrimSpace(line)) > 0:
			return fmt.Errorf("%s:%d: text after %s", r.name, r.line, eofLine)
		case strings.TrimRight(string(line), "\r\n") == eofLine:
			r.ended = true
		case len(line) > 0 && !r.ended:
			piece = append(piece, line...)
		}
		if len(piece) >= textPiece || last || r.ended {
			if err := r.parse(ctx, piece, first); err != nil {
				return err
			}
			piece, first = piece[:0], r.line+1
		}
		if last {
			break
		}
	}
	if !r.ended {
		return fmt.Errorf("%s:%d: no %s at the end: the file is cut off", r.name, max(1, r.line-1), eofLine)
	}
	return nil
}

// parse parses a piece. If it cannot, it looks for the line at fault.
func (r *reader) parse(ctx context.Context, piece []byte, first int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(piece) == 0 {
		return nil
	}
	bad, err := r.samples(piece)
	if err == nil {
		return nil
	}
	var fault *atLine
	if errors.As(err, &fault) {
		return fmt.Errorf("%s:%d: %w", r.name, first+bytes.Count(piece[:bad], []byte("\n")), fault.err)
	}
	for n, line := range bytes.SplitAfter(piece, []byte("\n")) {
		if err := parseAlone(line); err != nil {
			return fmt.Errorf("%s:%d: %w", r.name, first+n, err)
		}
	}
	return fmt.Errorf("%s:%d: %w", r.name, first, err)
}

// atLine is an error of ours, at a sample whose place is known.
type atLine struct{ err error }

func (a *atLine) Error() string { return a.err.Error() }

func parseAlone(line []byte) error {
	if len(line) == 0 {
		return nil
	}
	p := textparse.NewOpenMetricsParser(withEOF(line), labels.NewSymbolTable())
	for {
		if _, err := p.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func withEOF(piece []byte) []byte {
	if !bytes.HasSuffix(piece, []byte("\n")) {
		piece = append(slices.Clip(piece), '\n')
	}
	return append(slices.Clip(piece), eofLine+"\n"...)
}

// samples spools the samples of a piece. With an error of ours it returns where in the piece the sample stands.
func (r *reader) samples(piece []byte) (at int, err error) {
	text := withEOF(piece)
	p := textparse.NewOpenMetricsParser(text, r.table)
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		written, t, v := p.Series()
		if t == nil {
			return offset(text, written), &atLine{errors.New("sample without a timestamp: there is no telling when it was")}
		}
		id, ok := r.written[string(written)]
		if !ok {
			var ls labels.Labels
			p.Labels(&ls)
			id = r.intern(string(written), ls)
		}
		if err := r.spool(*t).add(id, *t, v); err != nil {
			return offset(text, written), &atLine{err}
		}
		if len(r.spools) > maxBlocks {
			return offset(text, written), &atLine{fmt.Errorf("the times of the samples spread over more than %d periods of %s", maxBlocks, textWidth)}
		}
	}
}

// offset is where part, a slice of whole, begins.
func offset(whole, part []byte) int { return cap(whole) - cap(part) }

// intern numbers a series. The same one may be written in several ways.
func (r *reader) intern(written string, ls labels.Labels) uint32 {
	key := string(ls.Bytes(nil))
	id, ok := r.ids[key]
	if !ok {
		id = uint32(len(r.series))
		r.series = append(r.series, ls.Copy())
		r.ids[key] = id
	}
	r.written[written] = id
	return id
}

func (r *reader) spool(t int64) *spool {
	start := alignDown(t, textWidth)
	s, ok := r.spools[start]
	if !ok {
		s = &spool{path: filepath.Join(r.dir, fmt.Sprintf("spool%d", start))}
		r.spools[start] = s
		if len(r.spools)%maxSpools == 0 {
			for _, other := range r.spools {
				s.failed = errors.Join(s.failed, other.rest())
			}
		}
	}
	return s
}

func (r *reader) close() error {
	var errs []error
	for _, s := range r.spools {
		errs = append(errs, s.rest())
	}
	return errors.Join(errs...)
}

func (r *reader) writeBlocks(ctx context.Context) error {
	for _, s := range r.spools {
		samples, err := s.load()
		if err != nil {
			return err
		}
		if err := r.writeBlock(ctx, samples); err != nil {
			return err
		}
		if err := os.Remove(s.path); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) writeBlock(ctx context.Context, samples []spooled) error {
	samples, doubles := inOrder(samples)
	r.doubles += doubles
	return writeBlock(ctx, r.dir, textWidth, func(add adder) error {
		refs := map[uint32]storage.SeriesRef{}
		for n, s := range samples {
			if n%commitInterval == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			ref, err := add(refs[s.id], r.series[s.id], sample{t: s.t, v: s.v})
			if err != nil {
				return fmt.Errorf("series %s: %w", r.series[s.id], err)
			}
			refs[s.id] = ref
		}
		return nil
	})
}

// spooled is a sample on its way.
type spooled struct {
	t  int64
	v  float64
	id uint32 // of its series
}

// inOrder brings the samples of each series into order, and leaves out all but the first of those at the same time.
func inOrder(samples []spooled) (kept []spooled, doubles int) {
	slices.SortStableFunc(samples, func(a, b spooled) int {
		switch {
		case a.id != b.id:
			return int(int64(a.id) - int64(b.id))
		case a.t != b.t:
			return int(min(max(a.t-b.t, -1), 1))
		}
		return 0
	})
	kept = slices.CompactFunc(samples, func(a, b spooled) bool { return a.id == b.id && a.t == b.t })
	return kept, len(samples) - len(kept)
}

// spool is a file of samples. It opens itself as needed.
type spool struct {
	path   string
	file   *os.File
	buffer *bufio.Writer
	failed error
}

func (s *spool) add(id uint32, t int64, v float64) error {
	if s.failed != nil {
		return s.failed
	}
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

func (s *spool) load() (samples []spooled, err error) {
	if err := s.rest(); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	samples = make([]spooled, info.Size()/sampleBytes)
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
