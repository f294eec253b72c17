package evaluator

import (
	"cmp"
	"slices"
)

// unit is a set of groups that are replayed together: one group in columns, or any number through upstream's.
type unit struct {
	groups []*group // in the order of the file
	why    string   // why it needs upstream's rule groups; empty if it does not
}

// component is a set of units that read each other's recordings, writers first, and nobody else's.
type component struct {
	units []*unit
	whole string // why it can't be cut by partition; empty if it can
}

func (c *component) groups() []*group {
	var all []*group
	for _, u := range c.units {
		all = append(all, u.groups...)
	}
	slices.SortFunc(all, func(a, b *group) int { return cmp.Compare(a.index, b.index) })
	return all
}

// graph is who reads whom among groups, by their position.
type graph struct {
	groups []*group
	feeds  []map[int]bool     // feeds[w][r]: r reads what w records
	why    map[int]string     // why a group can't do without upstream's rule groups
	clean  map[[2]int]bool    // memo of seenInOrder
	names  map[string][]*rule // writers by what they write
	pos    map[*group]int
	read   map[*rule]bool // rules that some rule reads
}

const (
	whyBackward = "a rule reads what a later rule, or itself, recorded at an earlier tick"
	whyWanders  = "a recording is read at a time that does not move with the tick (@ or a negative offset)"
	whyAlerts   = "a rule reads the ALERTS series of a replayed alert"
	whyEarly    = "a recording would be read before it is written, because of query offsets"
	whyShared   = "two groups may record the same series"
	whyCycle    = "groups read each other's recordings"
	whyAsked    = "asked for"
)

// plan finds the components of the groups.
func plan(groups []*group) []*component {
	g := newGraph(groups)
	for _, spec := range groups {
		for _, r := range spec.rules {
			for _, s := range r.selectors {
				g.connect(r, s)
			}
		}
	}
	g.separate()
	return g.components()
}

func newGraph(groups []*group) *graph {
	g := &graph{
		groups: groups, feeds: make([]map[int]bool, len(groups)), why: map[int]string{},
		clean: map[[2]int]bool{}, names: map[string][]*rule{}, pos: map[*group]int{}, read: map[*rule]bool{},
	}
	for i, spec := range groups {
		g.feeds[i] = map[int]bool{}
		g.pos[spec] = i
		for _, r := range spec.rules {
			for _, name := range r.writes() {
				g.names[name] = append(g.names[name], r)
			}
		}
	}
	return g
}

// connect notes all that r reads through s.
func (g *graph) connect(r *rule, s selector) {
	for _, w := range g.writers(s) {
		if !s.reads(w) {
			continue
		}
		g.read[w] = true
		from, to := g.pos[w.group], g.pos[r.group]
		g.feeds[from][to] = true
		if why := g.unclean(w, r, s); why != "" {
			g.feeds[to][from] = true // so that both land in one unit
			g.why[from], g.why[to] = why, why
		}
	}
}

// writers lists the rules that s might read, and more.
func (g *graph) writers(s selector) []*rule {
	if name, ok := equalName(s.matchers); ok {
		return g.names[name]
	}
	var all []*rule
	for _, spec := range g.groups {
		all = append(all, spec.rules...)
	}
	return all
}

// unclean says why r, reading w, can't be evaluated for all ticks once w has been; empty if it can.
func (g *graph) unclean(w, r *rule, s selector) string {
	switch {
	case w.alert:
		return whyAlerts
	case s.wanders:
		return whyWanders
	case w.group == r.group && w.index >= r.index:
		return whyBackward
	case w.group != r.group && !g.seenInOrder(w.group, r.group):
		return whyEarly
	}
	return ""
}

// seenInOrder reports whether, at every tick of r, all samples of w up to the time r reads have been written.
func (g *graph) seenInOrder(w, r *group) bool {
	key := [2]int{g.pos[w], g.pos[r]}
	if known, ok := g.clean[key]; ok {
		return known
	}
	written, readable, ok := 0, 0, true
	for k := 0; k < r.ticks.N && ok; k++ {
		now, at := r.ticks.At(k), r.queryTime(k)
		for written < w.ticks.N && (w.ticks.At(written).Before(now) || w.ticks.At(written).Equal(now) && w.index < r.index) {
			written++
		}
		for readable < w.ticks.N && w.queryTime(readable) <= at {
			readable++
		}
		ok = readable <= written
	}
	g.clean[key] = ok
	return ok
}

// separate puts groups that may record the same series into one unit, where it matters: where someone reads it.
func (g *graph) separate() {
	for _, writers := range g.names {
		for i, a := range writers {
			for _, b := range writers[i+1:] {
				if a.alert || b.alert || a.group == b.group || !g.read[a] && !g.read[b] || a.differs(b) {
					continue
				}
				i, j := g.pos[a.group], g.pos[b.group]
				g.feeds[i][j], g.feeds[j][i] = true, true
				g.why[i], g.why[j] = whyShared, whyShared
			}
		}
	}
}

// differs reports whether no series of r can be one of o's, by a label that both set.
func (r *rule) differs(o *rule) bool {
	for name, v := range r.labels.Map() {
		if w, ok := o.static(name); ok && w != v {
			return true
		}
	}
	return false
}

// components cuts the graph into strongly connected units, and collects these into weakly connected components.
func (g *graph) components() []*component {
	order := g.strong()
	root := make([]int, len(g.groups))
	for i := range root {
		root[i] = i
	}
	var find func(int) int
	find = func(i int) int {
		if root[i] != i {
			root[i] = find(root[i])
		}
		return root[i]
	}
	for w, readers := range g.feeds {
		for r := range readers {
			root[find(w)] = find(r)
		}
	}
	byRoot := map[int]*component{}
	var all []*component
	for _, members := range order {
		c := byRoot[find(members[0])]
		if c == nil {
			c = &component{}
			byRoot[find(members[0])] = c
			all = append(all, c)
		}
		c.units = append(c.units, g.unit(members))
	}
	slices.SortFunc(all, func(a, b *component) int { return cmp.Compare(a.groups()[0].index, b.groups()[0].index) })
	return all
}

func (g *graph) unit(members []int) *unit {
	slices.Sort(members)
	u := &unit{}
	for _, i := range members {
		u.groups = append(u.groups, g.groups[i])
		u.why = cmp.Or(u.why, g.why[i])
	}
	if len(members) > 1 {
		u.why = cmp.Or(u.why, whyCycle)
	}
	return u
}

// strong lists the strongly connected sets of groups, writers before readers (Tarjan's algorithm, run from the
// readers' side, which yields what a set depends on before the set).
func (g *graph) strong() [][]int {
	n := len(g.groups)
	reads := make([][]int, n)
	for w := range g.feeds {
		for r := range g.feeds[w] {
			reads[r] = append(reads[r], w)
		}
	}
	var (
		found       [][]int
		stack       []int
		number, low = make([]int, n), make([]int, n)
		onStack     = make([]bool, n)
		next        = 1
		visit       func(int)
	)
	visit = func(v int) {
		number[v], low[v] = next, next
		next++
		stack, onStack[v] = append(stack, v), true
		slices.Sort(reads[v])
		for _, w := range reads[v] {
			if number[w] == 0 {
				visit(w)
				low[v] = min(low[v], low[w])
			} else if onStack[w] {
				low[v] = min(low[v], number[w])
			}
		}
		if low[v] != number[v] {
			return
		}
		at := slices.Index(stack, v)
		found = append(found, slices.Clone(stack[at:]))
		for _, w := range stack[at:] {
			onStack[w] = false
		}
		stack = stack[:at]
	}
	for v := range n {
		if number[v] == 0 {
			visit(v)
		}
	}
	return found
}
