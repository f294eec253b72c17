package evaluator

import (
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// target is where a kernel's values go: a column, and the groups of aggregations.
type target struct {
	leaf    *leaf
	labels  labels.Labels
	col     []float64
	tallies []*tally
	begun   bool
}

// pass is one window of one series on its way: a rate and its total go together.
type pass struct {
	kernel          kernel
	steps           int // how long it is on the grid; 0 if it is not on it
	offset          int64
	targets, totals []*target
	total           []float64
}

// windows computes windows of one series, for all leaves that want them: block by block, so that what several
// windows read is near.
func (j *job) windows(all []*windowed, d *dense, l labels.Labels, matches []bool) {
	if len(d.ts) == 0 {
		return
	}
	passes := j.passes(all, l, matches)
	grids := j.grids(passes, d)
	ticks := j.program.group.ticks.N
	var buf [blockTicks]float64
	for lo := 0; lo < ticks; lo += blockTicks {
		hi := min(lo+blockTicks, ticks)
		for _, p := range passes {
			out, zero, written := p.into(p.targets, buf[:hi-lo], lo)
			total, totalZero, totalWritten := p.into(p.totals, p.total[:min(len(p.total), hi-lo)], lo)
			p.signs(zero, totalZero)
			if found, dense := p.block(d, j.clock, grids, lo, hi, out, total); found || written != nil || totalWritten != nil {
				j.deliver(p.targets, written, out, lo, dense)
				j.deliver(p.totals, totalWritten, total, lo, dense)
			}
		}
	}
}

func (j *job) passes(all []*windowed, l labels.Labels, matches []bool) []*pass {
	var passes []*pass
	j.arena.totals.release()
	for _, w := range all {
		if w.led {
			continue
		}
		p := &pass{targets: w.targets(l, matches), offset: w.offset}
		if w.total != nil {
			p.totals = w.total.targets(l, matches)
		}
		switch {
		case len(p.targets) == 0 && len(p.totals) == 0:
			continue
		case len(p.targets) == 0:
			w, p.targets, p.totals = w.total, p.totals, nil
		}
		p.kernel = newKernel(w.function, w.span, w.offset, j.options.Lookback.Milliseconds())
		if len(p.totals) > 0 {
			p.total = j.arena.totals.take()
		}
		p.steps, _ = w.fits(j.clock.step)
		passes = append(passes, p)
	}
	return passes
}

// grids draws, for each offset, the grid that its windows share.
func (j *job) grids(passes []*pass, d *dense) map[int64]*grid {
	deepest := map[int64]int{}
	for _, p := range passes {
		deepest[p.offset] = max(deepest[p.offset], p.steps)
	}
	for offset, steps := range deepest {
		if steps == 0 {
			continue
		}
		if j.arena.grid[offset] == nil {
			j.arena.grid[offset] = &grid{}
		}
		j.arena.grid[offset].reset(d, j.clock, offset, steps, j.program.group.ticks.N)
	}
	return j.arena.grid
}

// block computes a block. It reports whether there is any value in it, and whether it is known that there is one at
// every tick.
func (p *pass) block(d *dense, c clock, grids map[int64]*grid, lo, hi int, out, total []float64) (found, dense bool) {
	k, ok := p.kernel.(*extrapolation)
	if ok {
		k.total = nil
		if len(total) > 0 {
			k.total = total
		}
	}
	if p.steps > 0 {
		n := k.onGrid(d, grids[p.offset], p.steps, lo, hi, out)
		return n > 0, n == hi-lo
	}
	return p.kernel.block(d, c, lo, hi, out), false
}

// into is where a block is to be written: into a sum itself, where all who want it add up and a sum has room, and
// else into buf. Sums don't tell 0 from -0, which the kernel then needn't either.
func (p *pass) into(targets []*target, buf []float64, lo int) (out []float64, zero float64, written *tally) {
	exact := math.Copysign(0, -1)
	if p.steps == 0 || len(buf) == 0 {
		return buf, exact, nil
	}
	var room *tally
	for _, t := range targets {
		if !t.begun || t.col != nil {
			return buf, exact, nil
		}
		for _, tally := range t.tallies {
			if tally.op != parser.SUM {
				return buf, exact, nil
			}
			if room == nil && (tally.series == 1 || tally.second != nil) {
				room = tally
			}
		}
	}
	if room == nil {
		return buf, exact, nil
	}
	return room.direct(lo, lo+len(buf)), 0, room
}

// signs tells the kernel what to add to its results.
func (p *pass) signs(zero, totalZero float64) {
	if k, ok := p.kernel.(*extrapolation); ok {
		k.zero, k.totalZero = zero, totalZero
	}
}

func (w *windowed) targets(l labels.Labels, matches []bool) []*target {
	var all []*target
	for i, leaf := range w.leaves {
		if matches[w.filters[i]] {
			all = append(all, &target{leaf: leaf, labels: l})
		}
	}
	return all
}

// deliver passes a block on to all but the one into which it was written, if there is one. A series begins to exist
// for a leaf with its first value.
func (j *job) deliver(targets []*target, written *tally, out []float64, lo int, dense bool) {
	for _, t := range targets {
		if !t.begun {
			t.begun = true
			j.begin(t)
		}
		if t.col != nil {
			copy(t.col[lo:], out)
		}
		for _, tally := range t.tallies {
			if dense {
				tally.noteDense(lo)
			}
			if tally != written {
				tally.add(out, lo, j.arena.column)
			}
		}
	}
}

func (j *job) begin(t *target) {
	g := j.gathering(t.leaf)
	name := t.labels
	if !keepsName(t.leaf.function) {
		name = dropName(name)
	}
	key := string(name.Bytes(nil))
	if g.seen[key] {
		g.bad = whyTwins
	}
	g.seen[key] = true
	if t.leaf.columns {
		t.col = j.arena.absent()
		g.labels, g.cols = append(g.labels, name), append(g.cols, t.col)
	}
	for _, f := range t.leaf.folds {
		fg := j.folding(f)
		at := fg.grouping.of(name)
		if at == len(fg.tallies) {
			fg.tallies = append(fg.tallies, &tally{op: f.op, sum: j.arena.column()})
		}
		fg.tallies[at].come(j.arena.column)
		t.tallies = append(t.tallies, fg.tallies[at])
	}
}

func newKernel(function string, span, offset, lookback int64) kernel {
	if function == "" {
		return &instant{offset: offset, lookback: lookback}
	}
	return kernels[function](span, offset)
}
