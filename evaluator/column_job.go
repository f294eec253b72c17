package evaluator

import (
	"context"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/util/annotations"
)

// arena is the memory of one job after another: it hands out columns and blocks, and takes them all back at once.
type arena struct {
	ticks           int
	columns, blocks shelf
	totals          shelf // blocks for the series at hand
	reader          reader
	grid            map[int64]*grid // by offset: of the series at hand
}

func newArena(ticks int) *arena {
	return &arena{ticks: ticks, columns: shelf{size: ticks}, blocks: shelf{size: blockTicks}, totals: shelf{size: blockTicks}, grid: map[int64]*grid{}}
}

// shelf keeps slices of one size.
type shelf struct {
	size        int
	free, taken [][]float64
}

func (s *shelf) take() []float64 {
	var one []float64
	if n := len(s.free); n > 0 {
		one, s.free = s.free[n-1], s.free[:n-1]
	} else {
		one = make([]float64, s.size)
	}
	s.taken = append(s.taken, one)
	return one
}

func (s *shelf) release() {
	s.free = append(s.free, s.taken...)
	s.taken = s.taken[:0]
}

func (a *arena) column() []float64 { return a.columns.take() }

func (a *arena) absent() []float64 {
	col := a.column()
	fillAbsent(col)
	return col
}

func (a *arena) release() {
	a.columns.release()
	a.blocks.release()
}

// job replays one group in columns, over one part of the history.
type job struct {
	program *program
	view    *view
	options ReplayOptions
	arena   *arena
	clock   clock
	has     func(context.Context, *leaf) (bool, error) // whether a leaf's selector finds anything in the history
	warn    func(annotations.Annotations)

	vectors  map[node]*vector
	broken   map[node]error // why a node has no vector
	leaves   map[*leaf]*gathering
	folds    map[*fold]*folding
	recorded map[*rule]*recording
	spilt    map[*fold]bool   // averages that turned out to overflow
	owners   map[string]*rule // who recorded a series that is read, by its labels
	reports  []RuleReport

	samples        int64
	oldest, newest int64
}

// gathering is a leaf while its series come.
type gathering struct {
	labels []labels.Labels
	cols   [][]float64
	seen   map[string]bool
	bad    string
}

// folding is an aggregation of a leaf while its series come.
type folding struct {
	grouping *grouping
	tallies  []*tally
}

// recording is what a rule has recorded.
type recording struct {
	columns  []Column
	failures []Failure
	stored   bool // in the view's memory
}

func newJob(p *program, v *view, o ReplayOptions, a *arena) *job {
	j := &job{
		program: p, view: v, options: o, arena: a,
		clock:   clock{p.group.queryTime(0), p.group.ticks.Interval.Milliseconds()},
		vectors: map[node]*vector{}, broken: map[node]error{}, leaves: map[*leaf]*gathering{}, folds: map[*fold]*folding{},
		spilt: map[*fold]bool{}, owners: map[string]*rule{},
		recorded: map[*rule]*recording{}, oldest: math.MaxInt64, newest: math.MinInt64,
	}
	return j
}

// run replays the group. An error that is a collision asks for another way.
func (j *job) run(ctx context.Context) (*Outcome, error) {
	g := j.program.group
	for _, s := range j.program.scans {
		if err := j.read(ctx, s); err != nil {
			return nil, err
		}
	}
	out := &Outcome{Group: g.index, Name: g.name, Ticks: g.ticks}
	for _, c := range j.program.rules {
		ro, err := j.rule(ctx, c)
		if err != nil {
			return nil, err
		}
		out.Rules = append(out.Rules, ro)
	}
	if j.oldest <= j.newest {
		out.Oldest, out.Newest = timestamp.Time(j.oldest), timestamp.Time(j.newest)
	}
	return out, nil
}

// read scans the history once, feeding every leaf that the scan serves.
func (j *job) read(ctx context.Context, s *scan) error {
	ticks := j.program.group.ticks.N
	if ticks == 0 {
		return nil
	}
	mint, maxt := s.bounds(j.clock.at(0), j.clock.at(ticks-1), j.options.Lookback.Milliseconds())
	r := &j.arena.reader
	r.begin(mint, maxt, j.warn)
	matches := make([]bool, len(s.filters))
	err := r.each(ctx, j.view.history.history, append(slices.Clip(s.matchers), j.view.part...), func(l labels.Labels) error {
		for i, f := range s.filters {
			matches[i] = i == 0 || matchesAll(l, f)
		}
		j.feed(s, r, l, matches)
		return nil
	})
	j.samples += r.samples
	return err
}

// feed runs every window of the scan over the series that the reader holds.
func (j *job) feed(s *scan, r *reader, l labels.Labels, matches []bool) {
	if r.histograms {
		j.refuse(s, matches)
		return
	}
	if n := len(r.ts); n > 0 {
		j.oldest, j.newest = min(j.oldest, r.ts[0]), max(j.newest, r.ts[n-1])
	}
	for _, w := range s.windows { // instant selectors first: the others leave out stale markers for good
		if w.function == "" {
			j.windows([]*windowed{w}, r.withStale(), l, matches)
		}
	}
	var others []*windowed
	for _, w := range s.windows {
		if w.function != "" {
			others = append(others, w)
		}
	}
	if len(others) > 0 {
		j.windows(others, r.withoutStale(), l, matches)
	}
}

const whyHistograms = "a series holds native histograms"

// refuse notes that leaves can't have this series in columns.
func (j *job) refuse(s *scan, matches []bool) {
	for _, w := range s.windows {
		for i, l := range w.leaves {
			if matches[w.filters[i]] {
				j.gathering(l).bad = whyHistograms
			}
		}
	}
}

func (j *job) gathering(l *leaf) *gathering {
	g := j.leaves[l]
	if g == nil {
		g = &gathering{seen: map[string]bool{}}
		j.leaves[l] = g
	}
	return g
}

func (j *job) folding(f *fold) *folding {
	g := j.folds[f]
	if g == nil {
		g = &folding{grouping: newGrouping(f)}
		j.folds[f] = g
	}
	return g
}

// vector is what a node yields. The error says why it can't be had in columns.
func (j *job) vector(ctx context.Context, n node) (*vector, error) {
	if v, ok := j.vectors[n]; ok {
		return v, nil
	}
	if err := j.broken[n]; err != nil {
		return nil, err
	}
	v, err := j.build(ctx, n)
	if err != nil {
		j.broken[n] = err
		return nil, err
	}
	v.arena = j.arena
	j.vectors[n] = v
	return v, nil
}

func (j *job) build(ctx context.Context, n node) (*vector, error) {
	switch n := n.(type) {
	case *constant:
		return constantVector(n), nil
	case *leaf:
		return j.leafVector(ctx, n)
	case *fold:
		return j.foldVector(ctx, n)
	case *scaled:
		of, err := j.vector(ctx, n.vector)
		if err != nil {
			return nil, err
		}
		return scaledVector(n, of)
	case *negated:
		of, err := j.vector(ctx, n.of)
		if err != nil {
			return nil, err
		}
		return negatedVector(of)
	case *paired:
		lhs, err := j.vector(ctx, n.lhs)
		if err != nil {
			return nil, err
		}
		rhs, err := j.vector(ctx, n.rhs)
		if err != nil {
			return nil, err
		}
		return pairedVector(n, lhs, rhs)
	}
	panic(unknownNode(n))
}

// settle makes sure that a leaf has been read: those that read recordings can't be before these are there.
func (j *job) settle(ctx context.Context, l *leaf) (*gathering, error) {
	if l.scan == nil && j.leaves[l] == nil {
		if err := j.readRecordings(ctx, l); err != nil {
			return nil, err
		}
	}
	g := j.gathering(l)
	if g.bad != "" {
		return nil, unsupported(g.bad)
	}
	return g, nil
}

func (j *job) leafVector(ctx context.Context, l *leaf) (*vector, error) {
	g, err := j.settle(ctx, l)
	if err != nil {
		return nil, err
	}
	v := newVector(g.labels, true)
	v.cols = g.cols
	if v.cols == nil {
		v.cols = [][]float64{}
	}
	return v, nil
}

func (j *job) foldVector(ctx context.Context, f *fold) (*vector, error) {
	l, ok := f.of.(*leaf)
	if !ok {
		of, err := j.vector(ctx, f.of)
		if err != nil {
			return nil, err
		}
		return foldVector(f, of, func() { j.spilt[f] = true })
	}
	if _, err := j.settle(ctx, l); err != nil {
		return nil, err
	}
	fg := j.folding(f)
	v := newVector(fg.grouping.labels, !fg.grouping.mixed)
	v.cols = [][]float64{}
	for _, t := range fg.tallies {
		if t.spilt {
			return nil, unsupported(whyOverflow)
		}
		t.finish()
		v.cols, v.full = append(v.cols, t.sum), append(v.full, t.dense)
	}
	return v, nil
}

const whyOverflow = "an average overflows"
