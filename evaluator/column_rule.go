package evaluator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
)

// result is what an expression yields over all ticks.
type result struct {
	*vector
	histograms []map[int]*histogram.FloatHistogram // by series; nil if there are none
	failures   []Failure
	method     Method
	why        string
}

// rule replays one rule.
func (j *job) rule(ctx context.Context, c *compiled) (RuleOutcome, error) {
	res, out, err := j.columnar(ctx, c)
	if err != nil {
		return out, err
	}
	if res == nil || j.overflowed(c.root) {
		if res != nil {
			j.broken[c.root] = unsupported(whyOverflow)
		}
		why := c.why
		if c.root != nil {
			why = j.broken[c.root].Error()
		}
		if res, err = j.queried(ctx, c, why); err != nil {
			return out, fmt.Errorf("rule %q: %w", c.name, err)
		}
		if out, err = j.finish(ctx, c, res); err != nil {
			return out, err
		}
	}
	if j.options.Operands && c.alert && c.root != nil {
		out.Sweep = j.sweep(ctx, c)
	}
	j.reports = append(j.reports, RuleReport{Group: j.program.group.name, Rule: c.name, Index: c.index, Method: res.method, Reason: res.why})
	return out, nil
}

// columnar replays a rule in columns. The result is nil if that can't be.
func (j *job) columnar(ctx context.Context, c *compiled) (*result, RuleOutcome, error) {
	if c.root == nil {
		return nil, RuleOutcome{}, nil
	}
	v, err := j.vector(ctx, c.root)
	if _, ok := errors.AsType[unsupported](err); ok {
		return nil, RuleOutcome{}, nil
	}
	if err != nil {
		return nil, RuleOutcome{}, err
	}
	res := &result{vector: v}
	out, err := j.finish(ctx, c, res)
	return res, out, err
}

// overflowed reports whether an average below n turned out to be beyond columns.
func (j *job) overflowed(n node) bool {
	switch n := n.(type) {
	case *fold:
		return j.spilt[n] || j.overflowed(n.of)
	case *scaled:
		return j.overflowed(n.vector)
	case *negated:
		return j.overflowed(n.of)
	case *paired:
		return j.overflowed(n.lhs) || j.overflowed(n.rhs)
	}
	return false
}

// finish makes of an expression's result what the rule makes of it.
func (j *job) finish(ctx context.Context, c *compiled, res *result) (RuleOutcome, error) {
	out := c.outcome()
	var err error
	if c.alert {
		a := newAlerting(c.rule, j.options, res)
		out.Episodes, out.Failures, err = a.run(ctx, j.program.group.ticks.N)
		return out, err
	}
	rec := &recording{}
	rec.columns, rec.failures = j.record(c.rule, res)
	out.Columns, out.Failures = rec.columns, rec.failures
	j.recorded[c.rule] = rec
	if !j.program.read[c.rule] {
		return out, nil
	}
	return out, j.own(c.rule, rec.columns)
}

// errCollision says that two rules record one series, and one reads it: what is stored then depends on who comes first.
var errCollision = errors.New("two rules record the same series")

func (j *job) own(r *rule, columns []Column) error {
	for _, col := range columns {
		key := string(col.Labels.Bytes(nil))
		if owner := j.owners[key]; owner != nil && owner != r {
			return errCollision
		}
		j.owners[key] = r
	}
	return nil
}

// record gives the result the rule's name and labels.
func (j *job) record(r *rule, res *result) ([]Column, []Failure) {
	columns := make([]Column, len(res.labels))
	b := labels.NewBuilder(labels.EmptyLabels())
	for i, l := range res.labels {
		b.Reset(l)
		b.Set(labels.MetricName, r.name)
		r.labels.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
		columns[i].Labels = b.Labels()
		if res.histograms != nil {
			columns[i].Histograms = res.histograms[i]
		}
	}
	there := j.whole(res.vector, columns)
	kept := columns[:0]
	for i, col := range columns {
		if there[i] {
			kept = append(kept, col)
		}
	}
	slices.SortStableFunc(kept, func(a, b Column) int { return labels.Compare(a.Labels, b.Labels) })
	return j.refuseTicks(r, kept, res.failures)
}

// whole sets the columns' values from a vector, and says which columns have any.
func (j *job) whole(v *vector, columns []Column) []bool {
	there := make([]bool, len(columns))
	if v.cols != nil {
		for i, col := range v.cols {
			columns[i].Values, there[i] = col, true
		}
		return there
	}
	ticks := j.program.group.ticks.N
	for lo := 0; lo < ticks; lo += blockTicks {
		hi := min(lo+blockTicks, ticks)
		for i := range columns {
			if there[i] { // what can be is computed in its place
				v.own[i] = columns[i].Values[lo:]
			}
		}
		for i, block := range v.at(lo, hi) {
			switch {
			case block == nil && there[i]:
				fillAbsent(columns[i].Values[lo:hi])
			case block == nil || !there[i] && !v.dense[i] && !anyPresent(block):
			case !there[i]:
				there[i] = true
				columns[i].Values = j.arena.column()
				fillAbsent(columns[i].Values[:lo])
				copy(columns[i].Values[lo:hi], block)
			case &block[0] != &columns[i].Values[lo]:
				copy(columns[i].Values[lo:hi], block)
			}
		}
	}
	clear(v.own) // the columns are not the vector's to write into again
	v.block = -1
	return there
}

func anyPresent(block []float64) bool {
	for _, v := range block {
		if math.Float64bits(v) != absentBits {
			return true
		}
	}
	return false
}

// refuseTicks takes away what a live rule would refuse to record: all of a tick at which two results have the same
// labels, or at which there are more than the group's limit.
func (j *job) refuseTicks(r *rule, columns []Column, failures []Failure) ([]Column, []Failure) {
	var names []labels.Labels
	for _, col := range columns {
		names = append(names, col.Labels)
	}
	if uniqueLabels(names) && (r.group.limit <= 0 || r.group.limit >= len(columns)) {
		return columns, failures
	}
	for i := range columns { // they may be somebody else's too
		own := j.arena.column()
		copy(own, columns[i].Values)
		columns[i].Values = own
	}
	for tick := range r.group.ticks.N {
		if err := refusal(columns, tick, r.group.limit); err != nil {
			failures = append(failures, Failure{tick, err.Error()})
			blank(columns, tick)
		}
	}
	slices.SortFunc(failures, func(a, b Failure) int { return a.Tick - b.Tick })
	return merged(columns), failures
}

func refusal(columns []Column, tick, limit int) error {
	var there []labels.Labels
	for _, col := range columns {
		if !Absent(col.Values[tick]) {
			there = append(there, col.Labels)
		}
	}
	switch {
	case !uniqueLabels(there):
		return rules.ErrDuplicateRecordingLabelSet
	case limit > 0 && len(there) > limit:
		return fmt.Errorf("exceeded limit of %d with %d series", limit, len(there))
	}
	return nil
}

func blank(columns []Column, tick int) {
	for _, col := range columns {
		col.Values[tick] = math.Float64frombits(absentBits)
		delete(col.Histograms, tick)
	}
}

// merged makes one column of those with the same labels, which by now are never there at once, and leaves out
// those that have become empty. They come sorted.
func merged(columns []Column) []Column {
	var all []Column
	for _, col := range columns {
		if !anyPresent(col.Values) {
			continue
		}
		if n := len(all); n == 0 || !labels.Equal(all[n-1].Labels, col.Labels) {
			all = append(all, col)
			continue
		}
		into := &all[len(all)-1]
		for tick, v := range col.Values {
			if !Absent(v) {
				into.Values[tick] = v
			}
		}
		if into.Histograms == nil {
			into.Histograms = col.Histograms
		} else {
			maps.Copy(into.Histograms, col.Histograms)
		}
	}
	return all
}

// readRecordings reads a leaf whose selector may find recordings.
func (j *job) readRecordings(ctx context.Context, l *leaf) error {
	g := j.gathering(l)
	inHistory, err := j.has(ctx, l)
	if err != nil {
		return err
	}
	if !inHistory && j.aligned(l) {
		j.alias(l, g)
		return nil
	}
	for _, w := range l.writers {
		j.store(w)
	}
	for _, s := range j.view.recorded.selected(l.matchers) {
		if s.hs != nil {
			g.bad = whyHistograms
			return nil
		}
	}
	if inHistory {
		if err := j.readBoth(ctx, l); err != nil {
			return err
		}
		return nil
	}
	w := &windowed{function: l.function, span: l.span, offset: l.offset, leaves: []*leaf{l}, filters: []int{0}}
	for _, s := range j.view.recorded.selected(l.matchers) {
		j.windows([]*windowed{w}, readyFor(l.function, s.ts, s.vs), s.labels, []bool{true})
	}
	return nil
}

// readyFor copies samples as a function reads them.
func readyFor(function string, ts []int64, vs []float64) *dense {
	if function == "" {
		return &dense{ts: ts, vs: vs}
	}
	return compacted(slices.Clone(ts), slices.Clone(vs))
}

// readBoth reads a leaf that finds series in the history and among recordings.
func (j *job) readBoth(ctx context.Context, l *leaf) error {
	w := &windowed{function: l.function, span: l.span, offset: l.offset, leaves: []*leaf{l}, filters: []int{0}}
	s := &scan{matchers: l.matchers, windows: []*windowed{w}}
	mint, maxt := s.bounds(j.clock.at(0), j.clock.at(j.program.group.ticks.N-1), j.options.Lookback.Milliseconds())
	r := &reader{mint: mint, maxt: maxt, warnings: j.warn}
	defer func() { j.samples += r.samples }()
	return r.eachPlain(ctx, j.view, l.matchers, func(name labels.Labels) error {
		if r.histograms {
			j.gathering(l).bad = whyHistograms
			return nil
		}
		d := r.withStale()
		if l.function != "" {
			d = r.withoutStale()
		}
		j.windows([]*windowed{w}, d, name, []bool{true})
		return nil
	})
}

// aligned reports whether the leaf sees, at each tick, what its own group recorded at that tick and nothing else.
func (j *job) aligned(l *leaf) bool {
	if l.function != "" || l.offset != 0 || j.foreign(l) {
		return false
	}
	for _, w := range l.writers {
		if rec := j.recorded[w]; rec == nil || len(rec.failures) > 0 {
			return false
		}
	}
	return true
}

// foreign reports whether recordings of other groups are there for the leaf.
func (j *job) foreign(l *leaf) bool {
	for _, s := range j.view.recorded.selected(l.matchers) {
		if !slices.ContainsFunc(l.writers, func(w *rule) bool { return w.couldHaveWritten(s.labels) }) {
			return true
		}
	}
	return false
}

func (j *job) alias(l *leaf, g *gathering) {
	var found []Column
	for _, w := range l.writers {
		for _, col := range j.recorded[w].columns {
			if !matchesAll(col.Labels, l.matchers) {
				continue
			}
			if col.Histograms != nil {
				g.bad = whyHistograms
			}
			found = append(found, col)
		}
	}
	slices.SortFunc(found, func(a, b Column) int { return labels.Compare(a.Labels, b.Labels) })
	for _, col := range found {
		g.labels, g.cols = append(g.labels, col.Labels), append(g.cols, col.Values)
		if l.folds != nil {
			j.foldColumn(l, col)
		}
	}
}

func (j *job) foldColumn(l *leaf, col Column) {
	for _, f := range l.folds {
		fg := j.folding(f)
		at := fg.grouping.of(col.Labels)
		if at == len(fg.tallies) {
			fg.tallies = append(fg.tallies, &tally{op: f.op, sum: j.arena.column()})
		}
		fg.tallies[at].come(j.arena.column)
		fg.tallies[at].add(col.Values, 0, j.arena.column)
	}
}

// store puts what a rule recorded where queries and other groups find it: samples, and a stale marker wherever a
// series ends. At a tick that failed nothing is written, nor forgotten.
func (j *job) store(r *rule) {
	rec := j.recorded[r]
	if rec == nil || rec.stored {
		return
	}
	rec.stored = true
	for _, col := range rec.columns {
		s := &samples{labels: col.Labels}
		failures, open := rec.failures, false
		for tick, v := range col.Values {
			if len(failures) > 0 && failures[0].Tick == tick {
				failures = failures[1:]
				continue
			}
			if there := !Absent(v); there || open {
				s.append(j.clock.at(tick), v, col.Histograms[tick])
				open = there
			}
		}
		j.view.recorded.add(s)
	}
}
