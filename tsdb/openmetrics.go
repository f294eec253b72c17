package tsdb

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

const (
	textWidth    = 6 * time.Hour // of a spool, and of a block where there is much
	textTogether = 40            // widths, ten days, share a block where there is little
	textPiece    = 1 << 20       // bytes parsed at a time
	maxLine      = 1 << 20
	maxBlocks    = 10_000
	eofLine      = "# EOF"
)

// ReadOpenMetrics makes a History of a file in OpenMetrics text, compressed by gzip if its name ends in .gz.
// Every sample needs a timestamp, and the file its final # EOF. Samples may come in any order; of two at the same time
// the first counts, and Notes says how many were left out. Errors stand at file:line. Memory is bounded by six hours'
// samples, or four million, and the labels of all series; what is read is kept in HistoryOptions.TempDir until Close.
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
	r := &reader{sorter: newSorter(h.temp, textWidth, textTogether), name: path, table: labels.NewSymbolTable(), written: map[string]uint32{}}
	if err := r.readFile(ctx, path); err != nil {
		return errors.Join(err, r.rest())
	}
	if err := r.writeBlocks(ctx); err != nil {
		return errors.Join(fmt.Errorf("read %s: %w", path, err), r.rest())
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

// reader hands the samples of a text to its sorter.
type reader struct {
	*sorter
	name    string
	line    int
	table   *labels.SymbolTable
	written map[string]uint32 // numbers of series by what stands in the text
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
	if fault, ok := errors.AsType[*atLine](err); ok {
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
			id = r.intern(ls)
			r.written[string(written)] = id
		}
		if err := r.add(id, *t, v); err != nil {
			return offset(text, written), &atLine{err}
		}
		if len(r.spools) > maxBlocks {
			return offset(text, written), &atLine{fmt.Errorf("the times of the samples spread over more than %d periods of %s", maxBlocks, textWidth)}
		}
	}
}

// offset is where part, a slice of whole, begins.
func offset(whole, part []byte) int { return cap(whole) - cap(part) }
