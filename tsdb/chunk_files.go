package tsdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	promtsdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// readAhead is how much is read at once: about what a series has in a block of a day. Each open reader holds as much.
const readAhead = 4 << 10

// chunkFiles are the chunk files of a block, read on demand. Upstream maps them instead: the kernel then counts each page
// that was ever read as this process's memory, which grows with the history, and a file that is cut off meanwhile
// ends the process.
type chunkFiles struct {
	files []*os.File
	sizes []int64
	pool  chunkenc.Pool
	sums  *crc32.Table
}

// openChunkFiles opens all chunk files of a block's folder, in the order in which references number them.
func openChunkFiles(dir string) (*chunkFiles, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "chunks"))
	if err != nil {
		return nil, err
	}
	c := &chunkFiles{pool: chunkenc.NewPool(), sums: crc32.MakeTable(crc32.Castagnoli)}
	for _, e := range entries {
		if _, err := strconv.ParseUint(e.Name(), 10, 64); err != nil {
			continue
		}
		if err := c.open(filepath.Join(dir, "chunks", e.Name())); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

func (c *chunkFiles) open(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	c.files = append(c.files, f)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	c.sizes = append(c.sizes, info.Size())
	return nil
}

func (c *chunkFiles) close() error {
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// chunkFileReader implements upstream's ChunkReader. The one inside keeps the block open until it is closed.
type chunkFileReader struct {
	promtsdb.ChunkReader
	*chunkFiles
	last atomic.Pointer[fileWindow]
}

// fileWindow is a piece of a file. It is not written again: chunks point into it.
type fileWindow struct {
	segment int
	start   int64
	data    []byte
}

// ChunkOrIterable implements upstream's ChunkReader.
func (r *chunkFileReader) ChunkOrIterable(m chunks.Meta) (chunkenc.Chunk, chunkenc.Iterable, error) {
	segment, offset := chunks.BlockChunkRef(m.Ref).Unpack()
	if segment >= len(r.files) {
		return nil, nil, fmt.Errorf("chunks/%06d is missing", segment+1)
	}
	data, err := r.bytes(segment, int64(offset), chunks.MaxChunkLengthFieldSize)
	if err != nil {
		return nil, nil, err
	}
	length, n := binary.Uvarint(data[:chunks.MaxChunkLengthFieldSize])
	if n <= 0 || length > uint64(r.sizes[segment]) {
		return nil, nil, fmt.Errorf("chunks/%06d at byte %d: no length of a chunk", segment+1, offset)
	}
	size := n + chunks.ChunkEncodingSize + int(length)
	if data, err = r.bytes(segment, int64(offset), size+crc32.Size); err != nil {
		return nil, nil, err
	}
	if crc32.Checksum(data[n:size], r.sums) != binary.BigEndian.Uint32(data[size:]) {
		return nil, nil, fmt.Errorf("chunks/%06d at byte %d: checksum mismatch", segment+1, offset)
	}
	c, err := r.pool.Get(chunkenc.Encoding(data[n]), data[n+chunks.ChunkEncodingSize:size:size])
	return c, nil, err
}

// bytes are those of a file from offset, at least as many as needed.
func (r *chunkFileReader) bytes(segment int, offset int64, needed int) ([]byte, error) {
	if w := r.last.Load(); w != nil && w.segment == segment && w.start <= offset && offset+int64(needed) <= w.start+int64(len(w.data)) {
		return w.data[offset-w.start:], nil
	}
	size := int(min(int64(max(readAhead, needed)), r.sizes[segment]-offset))
	if size < needed {
		return nil, fmt.Errorf("chunks/%06d is cut off at byte %d", segment+1, r.sizes[segment])
	}
	w := &fileWindow{segment: segment, start: offset, data: make([]byte, size)}
	if _, err := r.files[segment].ReadAt(w.data, offset); err != nil {
		return nil, fmt.Errorf("chunks/%06d at byte %d: %w", segment+1, offset, err)
	}
	r.last.Store(w)
	return w.data, nil
}
