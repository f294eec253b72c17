package tsdb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	rescueWidth = 2 * time.Hour

	// Of upstream's format: a segment is a row of pages, a page is a row of pieces, each with a header of kind, length
	// and checksum, and a record is one whole piece or a first, some middle and a last one.
	logPage      = 32 << 10
	recordHeader = 7
	wholeRecord  = 1
	middlePiece  = 3
	lastPiece    = 4
)

// rescued says what was saved of a damaged log.
type rescued struct {
	samples int
	unknown int // samples whose series stood where the damage is
}

// rescue reads all that can still be read of the logs below kept, on both sides of the damage, and makes blocks of it in
// dir, all or none. Upstream's repair would keep only what stands before the damage.
func rescue(ctx context.Context, kept, dir string) (rescued, error) {
	writing := filepath.Join(dir, importWriting)
	if err := os.RemoveAll(writing); err != nil {
		return rescued{}, err
	}
	if err := os.Mkdir(writing, 0o777); err != nil {
		return rescued{}, err
	}
	s := newSalvage(writing)
	err := s.readLogs(kept)
	if err == nil {
		err = s.writeBlocks(ctx)
	}
	if err == nil {
		err = os.Rename(writing, filepath.Join(dir, importReady))
	}
	if err != nil {
		return rescued{}, errors.Join(fmt.Errorf("rescue samples: %w", err), s.rest(), os.RemoveAll(writing))
	}
	s.found.samples -= s.doubles
	return s.found, finishImports(dir)
}

// salvage hands the samples of a log to its sorter.
type salvage struct {
	*sorter
	found   rescued
	decoder record.Decoder
	refs    map[chunks.HeadSeriesRef]uint32

	// Used again for each record.
	seriesBuffer    []record.RefSeries
	sampleBuffer    []record.RefSample
	histogramBuffer []record.RefHistogramSample
	floatBuffer     []record.RefFloatHistogramSample
}

func newSalvage(dir string) *salvage {
	return &salvage{
		sorter: newSorter(dir, rescueWidth, 1), refs: map[chunks.HeadSeriesRef]uint32{},
		decoder: record.NewDecoder(nil, slog.New(slog.DiscardHandler)),
	}
}

// readLogs reads the newest checkpoint, the segments and the log of late samples.
func (s *salvage) readLogs(kept string) error {
	wal := filepath.Join(kept, "wal")
	dirs := []string{wal, filepath.Join(kept, wlog.WblDirName)}
	if checkpoint, _, err := wlog.LastCheckpoint(wal); err == nil {
		dirs = slices.Insert(dirs, 0, checkpoint)
	}
	for _, dir := range dirs {
		for _, segment := range segments(dir) {
			content, err := os.ReadFile(segment)
			if err != nil {
				return err
			}
			if err := s.readSegment(content); err != nil {
				return err
			}
		}
	}
	return nil
}

// segments are the files of a log in order, even where one is missing, which upstream does not bear.
func segments(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // there is no such log
	}
	var files []string
	for _, e := range entries { // sorted by name, and names are padded
		if _, err := strconv.Atoi(e.Name()); err == nil && !e.IsDir() {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files
}

// readSegment reads a segment, and goes on after damage. It changes content.
func (s *salvage) readSegment(content []byte) error {
	attempts := 0 // at the page that begins at start
	for start := 0; start < len(content); {
		r := wlog.NewReader(bytes.NewReader(content[start:]))
		for r.Next() {
			if err := s.take(r.Record()); err != nil {
				return err
			}
		}
		if r.Err() == nil {
			return nil
		}
		stopped := start + int(r.Offset())
		page := max(start, (stopped-1)/logPage*logPage)
		if page > start {
			attempts = 0
		}
		if attempts++; attempts > maxAttempts || !skip(content[page:min(page+logPage, len(content))], stopped-page) {
			page, attempts = page+logPage, 0
			if page < len(content) {
				skip(content[page:min(page+logPage, len(content))], 0)
			}
		}
		start = page
	}
	return nil
}

// maxAttempts bounds how often a page is read that is damaged in many places.
const maxAttempts = 64

// skip makes the reader pass over the first n bytes of a page, and over the pieces of a record after them that began
// further up: it writes an empty record over them. It says whether that was possible.
func skip(page []byte, n int) bool {
	for n+recordHeader <= len(page) {
		kind := page[n] & 7
		if kind != middlePiece && kind != lastPiece {
			break
		}
		n += recordHeader + int(binary.BigEndian.Uint16(page[n+1:]))
	}
	if n < recordHeader || n > len(page) {
		return false
	}
	payload := page[recordHeader:n]
	clear(payload)
	page[0] = wholeRecord
	binary.BigEndian.PutUint16(page[1:], uint16(len(payload)))
	binary.BigEndian.PutUint32(page[3:], crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))
	return true
}

// take takes the samples of a record. One that cannot be decoded, though its checksum is right, is left out.
func (s *salvage) take(rec []byte) error {
	switch s.decoder.Type(rec) {
	case record.Series:
		s.seriesBuffer, _ = s.decoder.Series(rec, s.seriesBuffer[:0])
		for _, r := range s.seriesBuffer {
			s.refs[r.Ref] = s.intern(r.Labels)
		}
	case record.Samples, record.SamplesV2:
		s.sampleBuffer, _ = s.decoder.Samples(rec, s.sampleBuffer[:0])
		for _, r := range s.sampleBuffer {
			if err := s.sample(r.Ref, func(id uint32) error { return s.add(id, r.T, r.V) }); err != nil {
				return err
			}
		}
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		s.histogramBuffer, _ = s.decoder.HistogramSamples(rec, s.histogramBuffer[:0])
		for _, r := range s.histogramBuffer {
			if err := s.sample(r.Ref, func(id uint32) error { return s.addHistogram(id, r.T, r.H, nil) }); err != nil {
				return err
			}
		}
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		s.floatBuffer, _ = s.decoder.FloatHistogramSamples(rec, s.floatBuffer[:0])
		for _, r := range s.floatBuffer {
			if err := s.sample(r.Ref, func(id uint32) error { return s.addHistogram(id, r.T, nil, r.FH) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *salvage) sample(ref chunks.HeadSeriesRef, add func(id uint32) error) error {
	id, ok := s.refs[ref]
	if !ok {
		s.found.unknown++
		return nil
	}
	s.found.samples++
	return add(id)
}
