package evaluator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// replay is one run over all groups.
type replay struct {
	options    ReplayOptions
	groups     []*group
	history    *shadow
	components []*component

	mu       sync.Mutex
	reports  map[*group][]RuleReport
	samples  int64
	parts    int
	warnings map[string]bool
	outcomes []*Outcome
	found    map[string]bool // whether a selector finds anything in the history
}

// part is one piece of work: a component, over some of the history.
type part struct {
	component *component
	programs  map[*group]*program
	values    []string // of the label by which the component is cut; nil if it is not
	label     string
}

func newReplay(groups []*group, history storage.Queryable, o ReplayOptions) *replay {
	r := &replay{
		options: o, groups: groups, history: newShadow(history, groups),
		reports: map[*group][]RuleReport{}, warnings: map[string]bool{}, found: map[string]bool{},
	}
	if o.Reference {
		r.components = []*component{{units: []*unit{{groups: groups, why: whyAsked}}, whole: whyAsked}}
	} else {
		r.components = plan(groups)
	}
	return r
}

func (r *replay) run(ctx context.Context) error {
	parts, err := r.cut(ctx)
	if err != nil {
		return err
	}
	r.parts = len(parts)
	return r.work(ctx, parts)
}

func (r *replay) report() *Replayed {
	done := &Replayed{Outcomes: r.outcomes, Samples: r.samples, Parts: r.parts}
	for _, g := range r.groups {
		done.Rules = append(done.Rules, r.reports[g]...)
	}
	done.Warnings = slices.Sorted(maps.Keys(r.warnings))
	return done
}

// cut divides the work into parts.
func (r *replay) cut(ctx context.Context) ([]*part, error) {
	var parts []*part
	for _, c := range r.components {
		programs := map[*group]*program{}
		each, scratch := 0, 0 // bytes for one value of the partition label, and for the series that is being read
		for _, u := range c.units {
			if u.why == "" {
				p := compile(u.groups[0], c.groups())
				programs[u.groups[0]] = p
				each += p.columns() * p.group.ticks.N * 8
				scratch = max(scratch, p.group.ticks.N*tickScratch)
			}
		}
		label := r.options.PartitionBy
		if label == "" || !separable(c, label) {
			parts = append(parts, &part{component: c, programs: programs})
			continue
		}
		values, err := r.values(ctx, c, label)
		if err != nil {
			return nil, err
		}
		size := max(1, (r.options.PartSize-scratch)/max(1, each))
		for batch := range slices.Chunk(values, size) {
			parts = append(parts, &part{component: c, programs: programs, values: batch, label: label})
		}
	}
	return parts, nil
}

// tickScratch is what a worker keeps of the series that it reads, in bytes for a tick: a line of its grid, and two samples.
const tickScratch = 36 + 2*16

// columns estimates how many columns one value of the partition label takes.
func (p *program) columns() int {
	n := 0
	for _, s := range p.scans {
		for _, w := range s.windows {
			n += 2 * len(w.leaves)
		}
	}
	return n + len(p.rules)
}

// values lists the values that the label has in what the component reads from the history: the empty one, of series
// without the label, too.
func (r *replay) values(ctx context.Context, c *component, label string) (values []string, err error) {
	q, err := r.history.history.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	seen := map[string]bool{}
	without := labels.MustNewMatcher(labels.MatchEqual, label, "")
	for _, matchers := range c.selects() {
		there, err := r.has(ctx, &leaf{matchers: matchers})
		if err != nil {
			return nil, err
		}
		if !there {
			continue
		}
		found, warnings, err := q.LabelValues(ctx, label, nil, matchers...)
		if err != nil {
			return nil, fmt.Errorf("values of label %q: %w", label, err)
		}
		r.warn(warnings)
		for _, v := range found {
			seen[strings.Clone(v)] = true
		}
		if seen[""] {
			continue
		}
		set := q.Select(ctx, false, &storage.SelectHints{Start: math.MinInt64, End: math.MaxInt64, Func: "series"}, append(slices.Clip(matchers), without)...)
		seen[""] = set.Next()
		if set.Err() != nil {
			return nil, fmt.Errorf("series without label %q: %w", label, set.Err())
		}
	}
	if !seen[""] {
		delete(seen, "")
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// selects lists what the component selects, each distinct selector once; of those that select what another does, or
// less, only the other.
func (c *component) selects() [][]*labels.Matcher {
	var leaves []*leaf
	for _, g := range c.groups() {
		for _, rule := range g.rules {
			for _, s := range rule.selectors {
				leaves = append(leaves, &leaf{matchers: s.matchers})
			}
		}
	}
	var all [][]*labels.Matcher
	for _, s := range scansFor(leaves) {
		all = append(all, s.matchers)
	}
	return all
}

// work does the parts on as many goroutines as the options allow. All have ended when it returns.
func (r *replay) work(ctx context.Context, parts []*part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg   sync.WaitGroup
		next = make(chan int)
		turn = newTurn()
	)
	for range min(r.options.Parallelism, len(parts)) {
		wg.Go(func() {
			w := &worker{replay: r, arenas: map[int]*arena{}}
			for i := range next {
				outcomes, err := w.do(ctx, parts[i])
				if err == nil {
					err = turn.take(ctx, i, func() error { return r.emit(outcomes, i+1, len(parts)) })
				}
				w.release()
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range parts {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// turn lets parts hand out what they have found in their order.
type turn struct {
	mu   sync.Mutex
	next int
	over map[int]chan struct{}
}

func newTurn() *turn { return &turn{over: map[int]chan struct{}{}} }

// gate is closed when it is part i's turn.
func (t *turn) gate(i int) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over[i] == nil {
		t.over[i] = make(chan struct{})
		if i == t.next {
			close(t.over[i])
		}
	}
	return t.over[i]
}

func (t *turn) take(ctx context.Context, i int, do func() error) error {
	select {
	case <-t.gate(i):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := do()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.over, i)
	t.next = i + 1
	if ch := t.over[t.next]; ch != nil {
		close(ch)
	}
	return err
}

// emit passes outcomes on. It is called by one goroutine at a time.
func (r *replay) emit(outcomes []*Outcome, done, total int) error {
	for _, out := range outcomes {
		if r.options.Sink == nil {
			r.outcomes = append(r.outcomes, out.clone())
			continue
		}
		if err := r.options.Sink(out); err != nil {
			return err
		}
	}
	if r.options.Progress != nil {
		r.options.Progress(done, total)
	}
	return nil
}

// clone copies what belongs to the replay.
func (o *Outcome) clone() *Outcome {
	c := *o
	c.Rules = slices.Clone(o.Rules)
	for i := range c.Rules {
		r := &c.Rules[i]
		r.Columns = slices.Clone(r.Columns)
		for k := range r.Columns {
			r.Columns[k].Values = slices.Clone(r.Columns[k].Values)
		}
		r.Sweep = r.Sweep.clone()
	}
	return &c
}

func (r *replay) warn(w annotations.Annotations) {
	if len(w) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range w.AsErrors() {
		r.warnings[err.Error()] = true
	}
}

// worker does one part after another, and keeps their memory.
type worker struct {
	replay *replay
	arenas map[int]*arena
}

func (w *worker) arena(ticks int) *arena {
	if w.arenas[ticks] == nil {
		w.arenas[ticks] = newArena(ticks)
	}
	return w.arenas[ticks]
}

func (w *worker) release() {
	for _, a := range w.arenas {
		a.release()
	}
}

// do replays one part.
func (w *worker) do(ctx context.Context, p *part) ([]*Outcome, error) {
	v := &view{history: w.replay.history, part: p.matchers(), recorded: newMemory()}
	var all []*Outcome
	for _, u := range p.component.units {
		outcomes, err := w.unit(ctx, p, u, v)
		if err != nil {
			return nil, err
		}
		all = append(all, outcomes...)
	}
	for _, out := range all {
		out.Partition = p.values
	}
	slices.SortFunc(all, func(a, b *Outcome) int { return cmp.Compare(a.Group, b.Group) })
	return all, nil
}

func (p *part) matchers() []*labels.Matcher {
	switch {
	case p.values == nil:
		return nil
	case len(p.values) == 1:
		return []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, p.label, p.values[0])}
	}
	return []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, p.label, strings.Join(quoted(p.values), "|"))}
}

func (w *worker) unit(ctx context.Context, p *part, u *unit, v *view) ([]*Outcome, error) {
	if u.why != "" {
		return w.byGroups(ctx, u, v, u.why)
	}
	g := u.groups[0]
	j := newJob(p.programs[g], v, w.replay.options, w.arena(g.ticks.N))
	j.has, j.warn = w.replay.has, w.replay.warn
	out, err := j.run(ctx)
	if errors.Is(err, errCollision) {
		return w.byGroups(ctx, u, v, err.Error())
	}
	if err != nil {
		return nil, fmt.Errorf("group %q: %w", g.name, err)
	}
	if err := j.wholeFailure(p, out); err != nil {
		return nil, err
	}
	j.handOver(p.component)
	w.replay.note(g, j.reports, j.samples)
	return []*Outcome{out}, nil
}

// wholeFailure is an error if a rule failed in a part: live it would have failed for all parts at once.
func (j *job) wholeFailure(p *part, out *Outcome) error {
	if p.values == nil {
		return nil
	}
	for i, r := range out.Rules {
		if len(r.Failures) > 0 {
			return fmt.Errorf("group %q, rule %q fails at %s: %s: %w", out.Name, j.program.rules[i].name, out.Ticks.At(r.Failures[0].Tick), r.Failures[0].Err, ErrPartition)
		}
	}
	return nil
}

// ErrPartition says that a rule fails at some tick for some partition, and so, live, for all: such groups must be
// replayed without ReplayOptions.PartitionBy.
var ErrPartition = errors.New("a rule that fails can't be replayed by partition")

// handOver stores what other groups read.
func (j *job) handOver(c *component) {
	for _, g := range c.groups() {
		if g == j.program.group {
			continue
		}
		for _, r := range g.rules {
			for _, s := range r.selectors {
				for _, w := range j.program.group.rules {
					if s.reads(w) {
						j.store(w)
					}
				}
			}
		}
	}
}

func (w *worker) byGroups(ctx context.Context, u *unit, v *view, why string) ([]*Outcome, error) {
	v.stand = nil
	outcomes, err := reference(ctx, u.groups, v, w.replay.options)
	if err != nil {
		return nil, err
	}
	for _, g := range u.groups {
		var reports []RuleReport
		for _, r := range g.rules {
			reports = append(reports, RuleReport{Group: g.name, Rule: r.name, Index: r.index, Method: Grouped, Reason: why})
		}
		w.replay.note(g, reports, 0)
	}
	return outcomes, nil
}

// note keeps how a group's rules were evaluated: the slowest way, if parts differ.
func (r *replay) note(g *group, reports []RuleReport, samples int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples += samples
	old := r.reports[g]
	if old == nil {
		r.reports[g] = reports
		return
	}
	for i := range reports {
		if reports[i].Method > old[i].Method {
			old[i] = reports[i]
		}
	}
}

// has reports whether the leaf's selector finds a series in the history that is not hidden.
func (r *replay) has(ctx context.Context, l *leaf) (found bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name, ok := equalName(l.matchers); ok {
		// That the history has none of that name at all, as is usual for recordings, is soon known for all selectors.
		named := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, name)}
		if found, err = r.finds(ctx, named); err != nil || !found {
			return false, err
		}
	}
	return r.finds(ctx, l.matchers)
}

// finds asks the history, once for each selector. r.mu is held.
func (r *replay) finds(ctx context.Context, matchers []*labels.Matcher) (found bool, err error) {
	key := matcherKey(matchers)
	if known, ok := r.found[key]; ok {
		return known, nil
	}
	q, err := r.history.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	set := q.Select(ctx, true, &storage.SelectHints{Start: math.MinInt64, End: math.MaxInt64, Func: "series"}, matchers...)
	found = set.Next()
	r.found[key] = found && set.Err() == nil
	return found, set.Err()
}
