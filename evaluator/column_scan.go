package evaluator

import (
	"cmp"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// scan is one reading of the history that serves several leaves: those whose selectors select what it does, or
// less.
type scan struct {
	matchers []*labels.Matcher
	filters  [][]*labels.Matcher // distinct selectors; the first is matchers
	windows  []*windowed
}

// bounds is the time that the scan reads, for ticks that query at the times from first to last.
func (s *scan) bounds(first, last, lookback int64) (mint, maxt int64) {
	mint, maxt = math.MaxInt64, math.MinInt64
	for _, w := range s.windows {
		reach := w.span
		if w.function == "" {
			reach = lookback
		}
		mint = min(mint, first-w.offset-reach+1)
		maxt = max(maxt, last-w.offset)
	}
	return mint, maxt
}

// windowed is one function over one range, computed once per series for all leaves that ask for it.
type windowed struct {
	function string
	span     int64
	offset   int64
	leaves   []*leaf
	filters  []int     // for each leaf, its selector among the scan's
	total    *windowed // of a rate, the increase over the same range, which comes of the same pass
	led      bool      // it is the total of another
}

// wire connects leaves with recordings and history. Equal leaves were made one by the program's nodes.
func (p *program) wire(all []*group) {
	var history []*leaf
	for _, l := range p.leaves() {
		for _, r := range p.group.rules {
			if (selector{matchers: l.matchers}).reads(r) {
				l.writers = append(l.writers, r)
			}
		}
		if len(l.writers) == 0 && !readsOther(l, p.group, all) {
			history = append(history, l)
		}
	}
	p.scans = scansFor(history)
}

// readAmong finds the rules of g that a rule of all reads.
func readAmong(g *group, all []*group) map[*rule]bool {
	read := map[*rule]bool{}
	for _, other := range all {
		for _, r := range other.rules {
			for _, s := range r.selectors {
				for _, w := range g.rules {
					read[w] = read[w] || s.reads(w)
				}
			}
		}
	}
	return read
}

func readsOther(l *leaf, own *group, all []*group) bool {
	for _, g := range all {
		if g == own {
			continue
		}
		if slices.ContainsFunc(g.rules, selector{matchers: l.matchers}.reads) {
			return true
		}
	}
	return false
}

// leaves lists them in an order that depends on the rules alone.
func (p *program) leaves() []*leaf {
	var keys []string
	for key := range p.nodes {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var all []*leaf
	for _, key := range keys {
		if l, ok := p.nodes[key].(*leaf); ok && !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

// scansFor lets leaves share scans: the most general selectors first, so that the rest find one that has them.
func scansFor(leaves []*leaf) []*scan {
	leaves = slices.Clone(leaves)
	slices.SortStableFunc(leaves, func(a, b *leaf) int { return cmp.Compare(len(a.matchers), len(b.matchers)) })
	var scans []*scan
	for _, l := range leaves {
		at := slices.IndexFunc(scans, func(s *scan) bool { return s.has(l.matchers) })
		if at < 0 {
			at = len(scans)
			scans = append(scans, &scan{matchers: l.matchers, filters: [][]*labels.Matcher{l.matchers}})
		}
		scans[at].add(l)
	}
	return scans
}

// has reports whether every series that the matchers select is in the scan.
func (s *scan) has(matchers []*labels.Matcher) bool {
	for _, m := range s.matchers {
		if !slices.ContainsFunc(matchers, func(o *labels.Matcher) bool { return o.String() == m.String() }) {
			return false
		}
	}
	return true
}

func (s *scan) add(l *leaf) {
	l.scan = s
	key := matcherKey(l.matchers)
	filter := slices.IndexFunc(s.filters, func(f []*labels.Matcher) bool { return matcherKey(f) == key })
	if filter < 0 {
		filter = len(s.filters)
		s.filters = append(s.filters, l.matchers)
	}
	at := slices.IndexFunc(s.windows, func(w *windowed) bool {
		return w.function == l.function && w.span == l.span && w.offset == l.offset
	})
	if at < 0 {
		at = len(s.windows)
		s.windows = append(s.windows, &windowed{function: l.function, span: l.span, offset: l.offset})
		s.pair(s.windows[at])
	}
	w := s.windows[at]
	w.leaves = append(w.leaves, l)
	w.filters = append(w.filters, filter)
}

// pair joins a rate and an increase over the same range.
func (s *scan) pair(w *windowed) {
	for _, o := range s.windows {
		if o.span != w.span || o.offset != w.offset {
			continue
		}
		switch {
		case o.function == "rate" && w.function == "increase":
			o.total, w.led = w, true
		case o.function == "increase" && w.function == "rate":
			w.total, o.led = o, true
		}
	}
}
