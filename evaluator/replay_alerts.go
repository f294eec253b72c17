package evaluator

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/template"
)

// alerting runs the state machine of one alerting rule over a result, as upstream's alerting rule does.
type alerting struct {
	rule    *rule
	result  *result
	options ReplayOptions
	slots   []labels.Labels // the alerts' labels
	byKey   map[string]int
	static  []int // the slot of each series; nil if labels have templates
	// expand finds the slot of series i at a tick at which it has the value v, where labels have templates.
	expand   func(i, tick int, v float64) int
	active   []*state
	bySlot   map[int]*state
	failures []Failure
	done     []Episode
}

// state is one active alert.
type state struct {
	Episode
	slot    int
	since   int // the tick from which it is kept firing; -1 if its condition is met
	seen    bool
	value   float64
	pending bool
}

func newAlerting(r *rule, o ReplayOptions, res *result) *alerting {
	a := &alerting{rule: r, result: res, options: o, byKey: map[string]int{}, bySlot: map[int]*state{}, failures: res.failures}
	templated := false
	r.labels.Range(func(l labels.Label) { templated = templated || strings.Contains(l.Value, "{{") })
	if templated {
		return a
	}
	a.static = make([]int, len(res.labels))
	for i, l := range res.labels {
		a.static[i] = a.slot(a.labelsOf(l, func(text string) string { return text }))
	}
	return a
}

// slot is the place of the alert with these labels.
func (a *alerting) slot(l labels.Labels) int {
	key := string(l.Bytes(nil))
	at, ok := a.byKey[key]
	if !ok {
		at = len(a.slots)
		a.byKey[key] = at
		a.slots = append(a.slots, l)
	}
	return at
}

func (a *alerting) labelsOf(metric labels.Labels, expand func(string) string) labels.Labels {
	b := labels.NewBuilder(metric)
	b.Del(labels.MetricName)
	a.rule.labels.Range(func(l labels.Label) { b.Set(l.Name, expand(l.Value)) })
	b.Set(labels.AlertName, a.rule.name)
	return b.Labels()
}

// templateNames are the variables that upstream defines for the templates of alerts.
const templateNames = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

// expanded is the slot of series i at a tick at which it has the value v.
func (a *alerting) expanded(ctx context.Context, i, tick int, v float64) int {
	metric := a.result.labels[i]
	sample := promql.Sample{Metric: metric, F: v, T: a.rule.group.queryTime(tick)}
	if a.result.histograms != nil {
		sample.H = a.result.histograms[i][tick]
	}
	data := template.AlertTemplateData(metric.Map(), a.options.ExternalLabels.Map(), a.options.ExternalURL.String(), sample)
	at := model.Time(timestamp.FromTime(a.rule.group.ticks.At(tick)))
	return a.slot(a.labelsOf(metric, func(text string) string {
		t := template.NewTemplateExpander(ctx, templateNames+text, "__alert_"+a.rule.name, data, at, nil, a.options.ExternalURL, nil)
		s, err := t.Expand()
		if err != nil {
			return fmt.Sprintf("<error expanding template: %s>", err)
		}
		return s
	}))
}

// run goes through n ticks. Failures are those of the evaluation, and those of the rule's own.
func (a *alerting) run(ctx context.Context, n int) ([]Episode, []Failure, error) {
	a.expand = func(i, tick int, v float64) int { return a.expanded(ctx, i, tick, v) }
	failed := a.failures
	for lo := 0; lo < n; lo += blockTicks {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		hi := min(lo+blockTicks, n)
		blocks := a.result.at(lo, hi)
		if len(a.active) == 0 && quiet(blocks) {
			continue
		}
		for tick := lo; tick < hi; tick++ {
			for len(failed) > 0 && failed[0].Tick < tick {
				failed = failed[1:]
			}
			if len(failed) == 0 || failed[0].Tick != tick {
				a.tick(tick, blocks, tick-lo)
			}
		}
	}
	for _, s := range a.active {
		a.done = append(a.done, s.Episode)
	}
	sortEpisodes(a.done)
	slices.SortFunc(a.failures, func(a, b Failure) int { return a.Tick - b.Tick })
	return a.done, a.failures, nil
}

func quiet(blocks [][]float64) bool {
	for _, b := range blocks {
		if b != nil {
			return false
		}
	}
	return true
}

func (a *alerting) fail(tick int, err error) {
	a.failures = append(slices.Clip(a.failures), Failure{tick, err.Error()})
}

// tick moves every alert on by one evaluation, which succeeded.
func (a *alerting) tick(tick int, blocks [][]float64, at int) {
	born := len(a.active)
	for i, b := range blocks {
		if len(b) == 0 || math.Float64bits(b[at]) == absentBits {
			continue
		}
		if !a.see(i, tick, b[at]) {
			a.undo(born)
			a.fail(tick, rules.ErrDuplicateAlertLabelSet)
			return
		}
	}
	if len(a.active) == 0 {
		return
	}
	now := a.rule.group.ticks.At(tick)
	if n := a.count(tick, now); a.rule.group.limit > 0 && n > a.rule.group.limit {
		a.fail(tick, fmt.Errorf("exceeded limit of %d with %d alerts", a.rule.group.limit, n))
		a.undo(born)
		for _, s := range a.active {
			a.resolve(s, now)
		}
		a.active = a.active[:0]
		return
	}
	left := a.active[:0]
	for _, s := range a.active {
		if a.move(s, tick, now) {
			left = append(left, s)
		}
	}
	a.active = left
}

// see notes that series i has a value. It reports false if another series of this tick is the same alert.
func (a *alerting) see(i, tick int, v float64) bool {
	var slot int
	if a.static != nil {
		slot = a.static[i]
	} else {
		slot = a.expand(i, tick, v)
	}
	s := a.bySlot[slot]
	if s == nil {
		s = &state{slot: slot, since: -1, pending: true, Episode: Episode{
			Labels: a.slots[slot], ActiveAt: a.rule.group.ticks.At(tick), Peak: math.NaN(),
		}}
		a.bySlot[slot] = s
		a.active = append(a.active, s)
	}
	if s.seen {
		return false
	}
	s.seen, s.value = true, v
	return true
}

// undo forgets what see has noted: alerts from born on are of this tick.
func (a *alerting) undo(born int) {
	for _, s := range a.active[born:] {
		delete(a.bySlot, s.slot)
	}
	a.active = a.active[:born]
	for _, s := range a.active {
		s.seen = false
	}
}

// count is how many alerts would be pending or firing after this tick.
func (a *alerting) count(tick int, now time.Time) int {
	n := 0
	for _, s := range a.active {
		if s.seen || a.keeps(s, tick, now) {
			n++
		}
	}
	return n
}

// keeps reports whether an alert whose condition is not met goes on firing.
func (a *alerting) keeps(s *state, tick int, now time.Time) bool {
	if s.pending || a.rule.keep <= 0 {
		return false
	}
	since := tick
	if s.since >= 0 {
		since = s.since
	}
	return now.Sub(a.rule.group.ticks.At(since)) < a.rule.keep
}

// move takes one alert through the tick. It reports whether the alert stays active.
func (a *alerting) move(s *state, tick int, now time.Time) bool {
	if !s.seen {
		if !a.keeps(s, tick, now) {
			a.resolve(s, now)
			return false
		}
		if s.since < 0 {
			s.since = tick
		}
		return true
	}
	s.seen, s.since = false, -1
	s.peak(s.value)
	if s.pending {
		s.Value = s.value
		if now.Sub(s.ActiveAt) >= a.rule.hold {
			s.pending, s.FiredAt = false, now
		}
	}
	return true
}

func (a *alerting) resolve(s *state, now time.Time) {
	delete(a.bySlot, s.slot)
	s.ResolvedAt = now
	a.done = append(a.done, s.Episode)
}
