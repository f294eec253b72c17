package tsdb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	streamedType = "application/x-streamed-protobuf"
	sampledType  = "application/x-protobuf"
	maxFrame     = 64 << 20
	maxSampled   = 256 << 20 // unpacked
)

// remoteRead is Prometheus's remote read: chunks as they are stored, or samples where a server has only those.
type remoteRead struct{}

func (remoteRead) name() string { return "remote read" }

func (remoteRead) note() string { return "" }

func (remoteRead) request(ctx context.Context, base *url.URL, selector []*labels.Matcher, mint, maxt int64) (*http.Request, error) {
	kinds := map[labels.MatchType]prompb.LabelMatcher_Type{
		labels.MatchEqual: prompb.LabelMatcher_EQ, labels.MatchNotEqual: prompb.LabelMatcher_NEQ,
		labels.MatchRegexp: prompb.LabelMatcher_RE, labels.MatchNotRegexp: prompb.LabelMatcher_NRE,
	}
	query := &prompb.Query{StartTimestampMs: mint, EndTimestampMs: maxt, Hints: &prompb.ReadHints{StartMs: mint, EndMs: maxt}}
	for _, m := range selector {
		query.Matchers = append(query.Matchers, &prompb.LabelMatcher{Type: kinds[m.Type], Name: m.Name, Value: m.Value})
	}
	content, err := (&prompb.ReadRequest{
		Queries:               []*prompb.Query{query},
		AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS, prompb.ReadRequest_SAMPLES},
	}).Marshal()
	if err != nil {
		return nil, err
	}
	body := bytes.NewReader(snappy.Encode(nil, content))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint(base, "api/v1/read", nil).String(), body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Encoding", "snappy")
	request.Header.Set("Accept-Encoding", "snappy")
	request.Header.Set("Content-Type", sampledType)
	request.Header.Set("X-Prometheus-Remote-Read-Version", "0.1.0")
	return request, nil
}

func (remoteRead) decode(answer *http.Response, p *piece) error {
	kind := answer.Header.Get("Content-Type")
	switch {
	case strings.HasPrefix(kind, streamedType):
		return readFrames(bufio.NewReaderSize(answer.Body, 1<<16), p)
	case strings.HasPrefix(kind, sampledType):
		return readSampled(answer.Body, p)
	}
	return wrongType(kind)
}

// readFrames reads a stream of frames: length, checksum, message. Upstream's reader takes a stream that ends inside
// a frame's head for whole.
func readFrames(in *bufio.Reader, p *piece) error {
	var frame []byte
	var response prompb.ChunkedReadResponse
	for {
		var err error
		if frame, err = nextFrame(in, frame); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return cutOff(err)
		}
		response.Reset()
		if err := response.Unmarshal(frame); err != nil {
			return cutOff(err)
		}
		for _, series := range response.ChunkedSeries {
			if err := readChunks(series, p); err != nil {
				return err
			}
		}
	}
}

// nextFrame reads a frame into buffer, which may grow. io.EOF means that there is no further one.
func nextFrame(in *bufio.Reader, buffer []byte) ([]byte, error) {
	size, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, err // io.EOF only where nothing was read
	}
	if size > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", size)
	}
	head := make([]byte, crc32.Size)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, noEOF(err)
	}
	if uint64(cap(buffer)) < size {
		buffer = make([]byte, size)
	}
	buffer = buffer[:size]
	if _, err := io.ReadFull(in, buffer); err != nil {
		return nil, noEOF(err)
	}
	if crc32.Checksum(buffer, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(head) {
		return nil, errors.New("a frame's checksum is wrong")
	}
	return buffer, nil
}

// noEOF marks an end where none may be.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func readChunks(series *prompb.ChunkedSeries, p *piece) (err error) {
	defer func() { // upstream's decoders trust what they decode
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: chunk: %v", errCutOff, fault)
		}
	}()
	id := p.intern(labelsOf(series.Labels))
	var it chunkenc.Iterator
	for _, c := range series.Chunks {
		if len(c.Data) < 2 {
			return cutOff(errors.New("an empty chunk"))
		}
		chunk, err := chunkenc.FromData(chunkenc.Encoding(c.Type), c.Data)
		if err != nil {
			return fmt.Errorf("%w: %w", errWrongAnswer, err)
		}
		it = chunk.Iterator(it)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if err := p.take(id, sampleAt(it, kind)); err != nil {
				return err
			}
		}
		if it.Err() != nil {
			return cutOff(it.Err())
		}
	}
	return nil
}

func labelsOf(pairs []prompb.Label) labels.Labels {
	b := labels.NewScratchBuilder(len(pairs))
	for _, pair := range pairs {
		b.Add(pair.Name, pair.Value)
	}
	b.Sort()
	return b.Labels()
}

func readSampled(in io.Reader, p *piece) error {
	packed, err := io.ReadAll(io.LimitReader(in, maxSampled+1))
	if err != nil {
		return cutOff(err)
	}
	if size, err := snappy.DecodedLen(packed); err == nil && max(size, len(packed)) > maxSampled {
		return fmt.Errorf("%d MiB of samples: %w", size>>20, errTooMuch)
	}
	content, err := snappy.Decode(nil, packed)
	if err != nil {
		return cutOff(err)
	}
	var response prompb.ReadResponse
	if err := response.Unmarshal(content); err != nil {
		return cutOff(err)
	}
	for _, result := range response.Results {
		for _, series := range result.Timeseries {
			if err := readSeries(series, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func readSeries(series *prompb.TimeSeries, p *piece) error {
	id := p.intern(labelsOf(series.Labels))
	for _, s := range series.Samples {
		if err := p.take(id, sample{t: s.Timestamp, v: s.Value}); err != nil {
			return err
		}
	}
	for _, h := range series.Histograms {
		s := sample{t: h.Timestamp}
		if h.IsFloatHistogram() {
			s.fh = h.ToFloatHistogram()
		} else {
			s.h = h.ToIntHistogram()
		}
		if err := p.take(id, s); err != nil {
			return err
		}
	}
	return nil
}
