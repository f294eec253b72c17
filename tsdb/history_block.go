package tsdb

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	promtsdb "github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// historyBlock is a block that reads on where a chunk of it is damaged, and tells what was missed. To check all chunks
// at the opening would read all of somebody's disk for the few series that are wanted.
type historyBlock struct {
	*promtsdb.Block
	files func() (*chunkFiles, error)

	mu   sync.Mutex
	bad  map[chunks.ChunkRef]struct{}
	mint int64 // of the bad chunks
	maxt int64
	why  error // of the first
}

func newHistoryBlock(b *promtsdb.Block) *historyBlock {
	return &historyBlock{Block: b, files: sync.OnceValues(func() (*chunkFiles, error) { return openChunkFiles(b.Dir()) })}
}

// Chunks implements upstream's BlockReader.
func (b *historyBlock) Chunks() (promtsdb.ChunkReader, error) {
	files, err := b.files()
	if err != nil {
		return nil, err
	}
	r, err := b.Block.Chunks()
	if err != nil {
		return nil, err
	}
	return &tolerantReader{&chunkFileReader{ChunkReader: r, chunkFiles: files}, b}, nil
}

// Close waits for readers to end.
func (b *historyBlock) Close() error {
	err := b.Block.Close()
	files, openErr := b.files()
	if openErr != nil {
		return err
	}
	return errors.Join(err, files.close())
}

func (b *historyBlock) miss(m chunks.Meta, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bad == nil {
		b.bad, b.mint, b.maxt, b.why = map[chunks.ChunkRef]struct{}{}, math.MaxInt64, math.MinInt64, why
	}
	b.bad[m.Ref] = struct{}{}
	b.mint, b.maxt = min(b.mint, m.MinTime), max(b.maxt, m.MaxTime)
}

// damage says in a line what was missed so far; empty if nothing was.
func (b *historyBlock) damage() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.bad) == 0 {
		return ""
	}
	return fmt.Sprintf("block %s: %d of %d chunks cannot be read: samples between %s and %s are missing: %v",
		b.Meta().ULID, len(b.bad), b.Meta().Stats.NumChunks, time.UnixMilli(b.mint).UTC().Format(time.RFC3339),
		time.UnixMilli(b.maxt).UTC().Format(time.RFC3339), b.why)
}

// tolerantReader reads a chunk that cannot be read as one without samples.
type tolerantReader struct {
	promtsdb.ChunkReader
	block *historyBlock
}

func (r *tolerantReader) ChunkOrIterable(m chunks.Meta) (chunkenc.Chunk, chunkenc.Iterable, error) {
	c, it, err := r.ChunkReader.ChunkOrIterable(m)
	if err != nil {
		r.block.miss(m, err)
		return chunkenc.NewXORChunk(), nil, nil
	}
	return c, it, nil
}
