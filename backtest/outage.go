package backtest

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// strike makes the share of the good events fail from a time on. It also tells which tenants had any.
func (s *stage) strike(before Memory, at time.Time, ratio float64) (Memory, []string, error) {
	var after Memory
	tenants := map[string]bool{}
	o := outage{from: at.UnixMilli(), ratio: ratio}
	for _, one := range before {
		struck, hit, err := s.struck(o, one)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errNotInjected, err)
		}
		after = append(after, struck...)
		if hit {
			tenants[one.Labels.Get(s.Tenant.Label)] = true
		}
	}
	after.sort()
	return after, sortedKeys(tenants), nil
}

func sortedKeys(m map[string]bool) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// struck is what becomes of one series in an outage, and whether it counts good events.
func (s *stage) struck(o outage, one Samples) (all []Samples, hit bool, err error) {
	switch {
	case s.reads.Native:
		slow, err := o.slow(one, s.reads.Bound)
		return []Samples{slow}, true, err
	case one.Histograms != nil:
		return nil, false, fmt.Errorf("%s is a native histogram", one.Labels)
	case s.reads.Good != nil: // what is too slow just does not arrive in the bucket
		if matches(one.Labels, s.reads.Good) {
			return []Samples{o.lessen(one)}, true, nil
		}
		return []Samples{one}, false, nil
	case !matches(one.Labels, s.reads.Total) || matches(one.Labels, s.reads.Errors):
		return []Samples{one}, false, nil
	}
	bad := failing(one.Labels, s.reads.Errors)
	if !matches(bad, s.reads.Errors) {
		return nil, false, fmt.Errorf("no value was found by which the failures of %s would match the errors' selector", one.Labels)
	}
	if matches(bad, s.reads.Total) { // the total counts failures too
		return []Samples{o.lessen(one), o.fail(one, bad)}, true, nil
	}
	return []Samples{one, o.fail(one, bad)}, true, nil
}

// mark tells series of failures that were put there from those that were, and from each other: the failures of a 200 and
// of a 404 are both counted as 500.
const mark = "slowburn_injected"

// failing is what a failed event of a series is counted as: the series with every label as the errors' selector wants it.
func failing(l labels.Labels, failed []*labels.Matcher) labels.Labels {
	b := labels.NewBuilder(l)
	for _, m := range failed {
		if m.Matches(l.Get(m.Name)) {
			continue
		}
		candidates := append(m.SetMatches(), "500", "503", "5xx", "5XX", "error", "ERROR", "bad", "failure", "false", "true", "1", "400", "", m.Value)
		if at := slices.IndexFunc(candidates, m.Matches); at >= 0 {
			b.Set(m.Name, candidates[at])
		}
	}
	return b.Set(mark, strconv.FormatUint(l.Hash(), 16)).Labels()
}

// outage makes a share of all increments from a time on fail.
type outage struct {
	from  int64
	ratio float64
}

// lost is, at each sample, how many events have failed: of the series since its last reset, and in all. A sample that is
// no number, such as the mark of a series' end, loses none.
func (o outage) lost(l Samples) (since, all []float64) {
	var own, sum float64
	last := math.NaN()
	for k, v := range l.Values {
		delta := v - last
		if delta < 0 { // a counter that begins anew
			delta, own = v, 0
		}
		if l.Times[k] > o.from && delta > 0 {
			own += o.ratio * delta
			sum += o.ratio * delta
		}
		if !math.IsNaN(v) {
			last = v
		}
		since, all = append(since, own), append(all, sum)
	}
	return since, all
}

// lessen takes the failed events off a series.
func (o outage) lessen(l Samples) Samples {
	since, _ := o.lost(l)
	less := Samples{Labels: l.Labels, Times: l.Times, Values: slices.Clone(l.Values)}
	for k, v := range l.Values {
		if !math.IsNaN(v) { // whose bits mean something
			less.Values[k] -= since[k]
		}
	}
	return less
}

// aged is what a counter of failures that has run for long stands at: one that starts at zero would be extrapolated less.
const aged = 1e6

// fail counts the failed events of a series, at its own times. It ends where the series ends.
func (o outage) fail(l Samples, as labels.Labels) Samples {
	_, all := o.lost(l)
	for k := range all {
		if all[k] += aged; math.IsNaN(l.Values[k]) {
			all[k] = l.Values[k]
		}
	}
	return Samples{Labels: as, Times: l.Times, Values: all}
}

// slow moves the failed events of a native histogram from the buckets that begin below the bound to one above it.
func (o outage) slow(l Samples, bound float64) (Samples, error) {
	late := Samples{Labels: l.Labels, Times: l.Times, Histograms: slices.Clone(l.Histograms)}
	if l.Histograms == nil {
		return late, fmt.Errorf("%s is no native histogram", l.Labels)
	}
	var last, moved *histogram.FloatHistogram
	for k, h := range l.Histograms {
		if value.IsStaleNaN(h.Sum) {
			continue
		}
		delta := h.Copy()
		if last != nil && !h.DetectReset(last) {
			if _, _, _, err := delta.Sub(last); err != nil {
				return late, fmt.Errorf("%s: %w", l.Labels, err)
			}
		} else {
			moved = nil // a counter that begins anew
		}
		if last != nil && l.Times[k] > o.from {
			var err error
			if moved, err = added(moved, fast(delta, bound).Mul(o.ratio)); err != nil {
				return late, fmt.Errorf("%s: %w", l.Labels, err)
			}
		}
		last = h
		var err error
		if late.Histograms[k], err = slower(h, moved, bound); err != nil {
			return late, fmt.Errorf("%s: %w", l.Labels, err)
		}
	}
	return late, nil
}

func added(sum, more *histogram.FloatHistogram) (*histogram.FloatHistogram, error) {
	if sum == nil {
		return more, nil
	}
	_, _, _, err := sum.Add(more)
	return sum, err
}

// fast keeps the events of the buckets that begin below the bound.
func fast(h *histogram.FloatHistogram, bound float64) *histogram.FloatHistogram {
	part := h.Copy()
	part.Count = part.ZeroCount
	for _, n := range part.NegativeBuckets {
		part.Count += n
	}
	k := 0
	for it := h.PositiveBucketIterator(); it.Next(); k++ {
		if it.At().Lower >= bound {
			part.PositiveBuckets[k] = 0
		}
		part.Count += part.PositiveBuckets[k]
	}
	part.Sum, part.CounterResetHint = 0, histogram.UnknownCounterReset
	return part
}

// slower is h with the moved events beyond the bound.
func slower(h, moved *histogram.FloatHistogram, bound float64) (*histogram.FloatHistogram, error) {
	out := h.Copy()
	out.CounterResetHint = histogram.UnknownCounterReset
	if moved == nil {
		return out, nil
	}
	if _, _, _, err := out.Sub(moved.Copy()); err != nil {
		return nil, err
	}
	far := &histogram.FloatHistogram{
		Schema: h.Schema, ZeroThreshold: h.ZeroThreshold, CustomValues: h.CustomValues,
		PositiveSpans: []histogram.Span{{Offset: beyond(h, bound), Length: 1}}, PositiveBuckets: []float64{moved.Count},
		Count: moved.Count, Sum: moved.Count * 2 * bound,
	}
	_, _, _, err := out.Add(far)
	out.CounterResetHint = histogram.UnknownCounterReset
	return out, err
}

// beyond is the index of a bucket that begins at or above the bound; of custom buckets, the last.
func beyond(h *histogram.FloatHistogram, bound float64) int32 {
	if h.UsesCustomBuckets() {
		return int32(len(h.CustomValues))
	}
	return int32(math.Ceil(math.Log2(bound)*math.Pow(2, float64(h.Schema)))) + 2
}
