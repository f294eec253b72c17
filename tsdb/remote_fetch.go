package tsdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

const (
	maxPiece      = 2_000_000 // samples of a piece, some 50 MiB while it is being fetched
	wantedPiece   = maxPiece / 4
	firstWidth    = 6 * time.Hour
	widestPiece   = 10 * 24 * time.Hour
	narrowest     = time.Minute
	maxWarnings   = 20
	settlingWhile = time.Hour // younger samples may still have others come beside them
)

// span is a time in milliseconds, both ends inclusive.
type span struct{ mint, maxt int64 }

// piece is what is being fetched of one span.
type piece struct {
	*sorter
	span
	floats     []spooledFloat
	histograms []spooled
	warnings   []string
}

// take keeps a sample, if it is in the piece's time.
func (p *piece) take(id uint32, s sample) error {
	if s.t < p.mint || s.t > p.maxt {
		return nil
	}
	if len(p.floats)+len(p.histograms) >= maxPiece {
		return fmt.Errorf("more than %d samples: %w", maxPiece, errTooMuch)
	}
	if s.h != nil || s.fh != nil {
		p.histograms = append(p.histograms, spooled{id: id, sample: s})
		return nil
	}
	p.floats = append(p.floats, spooledFloat{t: s.t, v: s.v, id: id})
	return nil
}

// assign gives the floats from an index on to a series.
func (p *piece) assign(from int, id uint32) {
	for n := from; n < len(p.floats); n++ {
		p.floats[n].id = id
	}
}

func (p *piece) warn(text string) {
	if len(p.warnings) < maxWarnings && !slices.Contains(p.warnings, text) {
		p.warnings = append(p.warnings, text)
	}
}

// write makes a block of the piece in dir, and returns its name; empty where there are no samples.
func (p *piece) write(ctx context.Context, dir string) (name string, err error) {
	if len(p.floats)+len(p.histograms) == 0 {
		return "", nil
	}
	temp, err := os.MkdirTemp(dir, "piece-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	width := time.Duration(p.maxt-p.mint+1) * time.Millisecond
	err = writeBlock(ctx, temp, width, func(add adder) error {
		refs := map[uint32]storage.SeriesRef{}
		return errors.Join(appendAll(ctx, p.sorter, p.floats, refs, add), appendAll(ctx, p.sorter, p.histograms, refs, add))
	})
	if err != nil {
		return "", err
	}
	blocks := blockDirs(temp)
	if len(blocks) != 1 {
		return "", fmt.Errorf("%d blocks of one piece", len(blocks))
	}
	name = filepath.Base(blocks[0])
	return name, os.Rename(blocks[0], filepath.Join(dir, name))
}

// Fetch copies the samples of the selectors between mint and maxt (milliseconds, inclusive) and returns them as a
// History, piece by piece: a piece that is too much for the server, or for us, is cut in two. Where the server
// stumbles it is asked again, with growing pauses, for a bounded number of times.
func (r *Remote) Fetch(ctx context.Context, selectors [][]*labels.Matcher, mint, maxt int64) (*History, error) {
	if mint > maxt || len(selectors) == 0 {
		return nil, fmt.Errorf("fetch from %s: nothing is asked for", redacted(r.base))
	}
	h := newHistory()
	if err := r.fetchInto(ctx, h, withoutNarrower(selectors), span{mint, maxt}); err != nil {
		return nil, errors.Join(fmt.Errorf("fetch from %s: %w", redacted(r.base), err), h.Close())
	}
	h.measure()
	h.mint, h.maxt = max(h.mint, mint), min(h.maxt, maxt)
	return h, nil
}

func (r *Remote) fetchInto(ctx context.Context, h *History, selectors [][]*labels.Matcher, asked span) error {
	l, err := r.openLedger(h, selectors)
	if err != nil {
		return err
	}
	f := &fetch{remote: r, selectors: selectors, ledger: l, asked: asked, width: firstWidth.Milliseconds(), widest: widestPiece.Milliseconds()}
	f.plan()
	if err := f.run(ctx); err != nil {
		return err
	}
	h.openBlocks(l.dir)
	h.blocks = slices.DeleteFunc(h.blocks, func(b *historyBlock) bool {
		outside := b.MinTime() > asked.maxt || b.MaxTime() <= asked.mint
		if outside {
			b.Close() //nolint:errcheck // it was only read
		}
		return outside
	})
	if note := r.protocol.note(); note != "" {
		h.notes = append(h.notes, note)
	}
	for _, warning := range f.warnings {
		h.notes = append(h.notes, redacted(r.base)+" warns: "+warning)
	}
	return nil
}

// withoutNarrower leaves out selectors that ask for nothing that another does not ask for too.
func withoutNarrower(selectors [][]*labels.Matcher) [][]*labels.Matcher {
	sorted := slices.Clone(selectors)
	slices.SortFunc(sorted, func(a, b []*labels.Matcher) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(selectorText(a), selectorText(b))
	})
	var kept [][]*labels.Matcher
	for _, s := range sorted {
		if !slices.ContainsFunc(kept, func(wider []*labels.Matcher) bool { return contains(s, wider) }) {
			kept = append(kept, s)
		}
	}
	return kept
}

// contains tells whether all of some are among all.
func contains(all, some []*labels.Matcher) bool {
	for _, m := range some {
		if !slices.ContainsFunc(all, func(other *labels.Matcher) bool { return other.String() == m.String() }) {
			return false
		}
	}
	return true
}

// fetch is one call of Fetch under way.
type fetch struct {
	remote    *Remote
	selectors [][]*labels.Matcher
	ledger    *ledger
	asked     span

	mu       sync.Mutex
	gaps     []span // still to be fetched, oldest first
	width    int64  // of the next piece
	widest   int64  // that it may become
	missing  int64  // of gaps and pieces under way, in milliseconds
	total    int64
	warnings []string
}

// plan finds what the ledger does not have. Nothing that settles yet shares a piece with what has settled.
func (f *fetch) plan() {
	border := f.asked.maxt - settlingWhile.Milliseconds()
	f.gaps = f.ledger.missing(span{f.asked.mint, border})
	f.gaps = append(f.gaps, span{max(f.asked.mint, border+1), f.asked.maxt})
	for _, g := range f.gaps {
		f.missing += g.maxt - g.mint + 1
	}
	f.total = f.asked.maxt - f.asked.mint + 1
}

// run has the pieces fetched, some at a time. The first error ends all.
func (f *fetch) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, f.remote.opts.Parallelism)
	var wg sync.WaitGroup
	for n := range errs {
		wg.Go(func() { // ends when nothing is left, or with an error
			if errs[n] = f.work(ctx); errs[n] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

func (f *fetch) work(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, ok := f.next()
		if !ok {
			return nil
		}
		p := &piece{sorter: newSorter("", 0, 0), span: s}
		if err := f.fetch(ctx, p); err == nil {
			f.done(p)
			continue
		} else if a, ok := errors.AsType[*answerError](err); !ok || !a.split || !f.split(s) {
			return fmt.Errorf("%s to %s: %w", clock(s.mint), clock(s.maxt), err)
		}
	}
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// fetch asks for all selectors, and writes the block.
func (f *fetch) fetch(ctx context.Context, p *piece) error {
	for _, selector := range f.selectors {
		if err := f.remote.ask(ctx, f.remote.protocol, selector, p); err != nil {
			return err
		}
	}
	block, err := p.write(ctx, f.ledger.dir)
	if err != nil {
		return err
	}
	settled := p.maxt <= f.asked.maxt-settlingWhile.Milliseconds()
	return f.ledger.add(fetched{Mint: p.mint, Maxt: p.maxt, Block: block}, settled)
}

// next cuts the next piece off the gaps.
func (f *fetch) next() (span, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.gaps) == 0 {
		return span{}, false
	}
	s := f.gaps[0]
	if s.maxt-s.mint >= f.width {
		s.maxt = s.mint + f.width - 1
		f.gaps[0].mint = s.maxt + 1
	} else {
		f.gaps = f.gaps[1:]
	}
	return s, true
}

// done counts a piece, and widens the next ones where it held little.
func (f *fetch) done(p *piece) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range p.warnings {
		if len(f.warnings) < maxWarnings && !slices.Contains(f.warnings, w) {
			f.warnings = append(f.warnings, w)
		}
	}
	width := p.maxt - p.mint + 1
	if n := len(p.floats) + len(p.histograms); n < wantedPiece && width == f.width {
		f.width = min(2*f.width, f.widest)
	}
	f.widest = min(f.widest+f.widest/8, widestPiece.Milliseconds()) // a server that was in trouble may recover
	f.missing -= width
	f.remote.opts.Progress(int((f.total-f.missing)/1000), int(f.total/1000))
}

// split puts a span back as two. Not if it is as narrow as one can be.
func (f *fetch) split(s span) bool {
	half := (s.maxt - s.mint + 1) / 2
	if half < narrowest.Milliseconds()/2 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gaps = slices.Insert(f.gaps, 0, span{s.mint, s.mint + half - 1}, span{s.mint + half, s.maxt})
	f.widest = min(f.widest, max(half, narrowest.Milliseconds()))
	f.width = min(f.width, f.widest)
	return true
}
