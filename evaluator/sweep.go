package evaluator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Sweep is the expression of an alert that joins comparisons with constants by "and", taken apart: the constants are
// parameters, and the operands, evaluated once, serve for any value of them. The alert's condition is met for a
// series at a tick if every operand is there and compares with its constant as its parameter says.
type Sweep struct {
	Params []Param
	Series []Swept
}

// Param is one comparison with a constant, the constant on the right.
type Param struct {
	Query    string // the operand
	Op       string // one of > >= < <= == !=
	Constant float64
}

// Swept is one series for which the alert can fire, if its operands are ever there at once.
type Swept struct {
	Labels   labels.Labels // of the alert; templates in them are left as they are
	Operands [][]float64   // by parameter, then by tick; Absent where there is none
}

func (s *Sweep) clone() *Sweep {
	if s == nil {
		return nil
	}
	c := &Sweep{Params: s.Params, Series: slices.Clone(s.Series)}
	for i := range c.Series {
		c.Series[i].Operands = slices.Clone(c.Series[i].Operands)
		for k, col := range c.Series[i].Operands {
			c.Series[i].Operands[k] = slices.Clone(col)
		}
	}
	return c
}

// mirrored is the operator that says the same with its sides exchanged.
var mirrored = map[parser.ItemType]parser.ItemType{
	parser.GTR: parser.LSS, parser.LSS: parser.GTR, parser.GTE: parser.LTE, parser.LTE: parser.GTE,
	parser.EQLC: parser.EQLC, parser.NEQ: parser.NEQ,
}

var errNotSwept = errors.New("the expression is not a conjunction of comparisons with constants")

// sweep takes the rule's expression apart; nil if that can't be done, or not in columns.
func (j *job) sweep(ctx context.Context, c *compiled) *Sweep {
	s := &Sweep{}
	series, err := j.operands(ctx, c.root, s)
	if err != nil {
		return nil
	}
	named := &alerting{rule: c.rule}
	for _, one := range series {
		one.Labels = named.labelsOf(one.Labels, func(text string) string { return text })
		s.Series = append(s.Series, one)
	}
	slices.SortStableFunc(s.Series, func(a, b Swept) int { return labels.Compare(a.Labels, b.Labels) })
	return s
}

func (j *job) operands(ctx context.Context, n node, s *Sweep) ([]Swept, error) {
	switch n := n.(type) {
	case *scaled:
		return j.comparison(ctx, n, s)
	case *paired:
		if n.op != parser.LAND {
			return nil, errNotSwept
		}
		lhs, err := j.operands(ctx, n.lhs, s)
		if err != nil {
			return nil, err
		}
		rhs, err := j.operands(ctx, n.rhs, s)
		if err != nil {
			return nil, err
		}
		return conjoined(lhs, rhs, n.matching)
	}
	return nil, errNotSwept
}

func (j *job) comparison(ctx context.Context, n *scaled, s *Sweep) ([]Swept, error) {
	if !n.op.IsComparisonOperator() || n.isBool {
		return nil, errNotSwept
	}
	v, err := j.vector(ctx, n.vector)
	if err != nil {
		return nil, err
	}
	op := n.op
	if n.swap {
		op = mirrored[op]
	}
	s.Params = append(s.Params, Param{Query: n.query, Op: op.String(), Constant: n.number})
	columns := make([]Column, len(v.labels))
	var all []Swept
	for i, there := range j.whole(v, columns) {
		if there {
			all = append(all, Swept{Labels: v.labels[i], Operands: [][]float64{columns[i].Values}})
		}
	}
	return all, nil
}

// conjoined gives each series of the left the operands of the only one on the right with its signature.
func conjoined(lhs, rhs []Swept, m *parser.VectorMatching) ([]Swept, error) {
	partners := positions(signatures(labelsOf(rhs), m))
	var all []Swept
	for i, key := range signatures(labelsOf(lhs), m) {
		switch found := partners[key]; len(found) {
		case 0:
		case 1:
			all = append(all, Swept{Labels: lhs[i].Labels, Operands: slices.Concat(lhs[i].Operands, rhs[found[0]].Operands)})
		default:
			return nil, errNotSwept
		}
	}
	return all, nil
}

func labelsOf(all []Swept) []labels.Labels {
	var names []labels.Labels
	for _, s := range all {
		names = append(names, s.Labels)
	}
	return names
}

// Effective writes to dst, for series i, what a threshold common to the parameters of these positions is compared
// with: at each tick the least of their operands. It is Absent where an operand is missing, or where one of the other
// parameters is not met. The parameters must all compare by > or all by >=.
func (s *Sweep) Effective(dst []float64, i int, swept ...int) ([]float64, error) {
	if len(swept) == 0 {
		return nil, errors.New("sweep no parameter")
	}
	for _, p := range swept {
		if op := s.Params[p].Op; op != s.Params[swept[0]].Op || op != ">" && op != ">=" {
			return nil, fmt.Errorf("sweep %s %s beside %s: only > or >= alone", s.Params[p].Query, op, s.Params[swept[0]].Op)
		}
	}
	operands := s.Series[i].Operands
	dst = append(dst[:0], operands[swept[0]]...)
	for p, col := range operands {
		switch {
		case p == swept[0]:
		case slices.Contains(swept, p):
			least(dst, col)
		default:
			s.Params[p].keep(dst, col)
		}
	}
	return dst, nil
}

// least keeps the smaller of two values; of a NaN and another the NaN, which is above no threshold.
func least(dst, col []float64) {
	dst = dst[:len(col)]
	for k, v := range col {
		old := dst[k]
		smaller := min(old, v)
		switch {
		case smaller == smaller: // neither is absent or NaN
			dst[k] = smaller
		case !Absent(old) && v != v:
			dst[k] = v
		}
	}
}

// keep makes absent what stands where the parameter is not met. The two usual operators have loops of their own: a
// call for each tick would cost more than all else of a sweep.
func (p Param) keep(dst, col []float64) {
	dst = dst[:len(col)]
	absent, constant := math.Float64frombits(absentBits), p.Constant
	switch p.Op {
	case ">":
		for k, v := range col {
			if !(v > constant) {
				dst[k] = absent
			}
		}
	case ">=":
		for k, v := range col {
			if !(v >= constant) {
				dst[k] = absent
			}
		}
	default:
		meets := p.met()
		for k, v := range col {
			if Absent(v) || !meets(v) {
				dst[k] = absent
			}
		}
	}
}

func (p Param) met() func(float64) bool {
	for op := range mirrored {
		if op.String() == p.Op {
			return func(v float64) bool { return compare(op, v, p.Constant) }
		}
	}
	panic(fmt.Sprintf("evaluator: operator %s", p.Op))
}

// Runs finds, for each of many thresholds at once, the runs of ticks at which the values are above it (or, if
// orEqual, not below). Thresholds must be sorted, smallest first. It calls run with the position of a threshold and
// the ticks from and, exclusively, to; runs that last to the end have to == len(values). Each threshold's runs come
// in order. The cost is that of reading the values, and of the runs found.
func Runs(values, thresholds []float64, orEqual bool, run func(threshold, from, to int)) {
	began := make([]int, len(thresholds))
	level := 0                                   // how many thresholds are met
	floor, ceiling := math.Inf(-1), math.Inf(-1) // between them the level stays
	for k, v := range values {
		if v > floor && v < ceiling {
			continue
		}
		for level < len(thresholds) && (v > thresholds[level] || orEqual && v == thresholds[level]) {
			began[level] = k
			level++
		}
		for level > 0 && !(v > thresholds[level-1] || orEqual && v == thresholds[level-1]) {
			level--
			run(level, began[level], k)
		}
		floor, ceiling = around(thresholds, level)
	}
	for ; level > 0; level-- {
		run(level-1, began[level-1], len(values))
	}
}

func around(thresholds []float64, level int) (floor, ceiling float64) {
	floor, ceiling = math.Inf(-1), math.Inf(1)
	if level > 0 {
		floor = thresholds[level-1]
	}
	if level < len(thresholds) {
		ceiling = thresholds[level]
	}
	return floor, ceiling
}

// Held is how many ticks after the first a condition must still be met for an alert to have been held for d.
func (t Ticks) Held(d time.Duration) int {
	return int((d + t.Interval - 1) / t.Interval)
}
