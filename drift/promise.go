package drift

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/slo"
)

// Names that rulegen gives, and those of other generators whose recordings are known without their rules.
const (
	ownRecordings = "error_budget:"
	ownBurnRate   = "error_budget:burn_rate:"
	ownFailures   = "error_budget:failures:"
	ownAlert      = "ErrorBudgetBurn"
	slothRatio    = "slo:sli_error:ratio_rate"
	pyrraRatio    = ":burnrate"
)

// promise is one objective with the rules that it becomes, and its burn rate read out of them: what other people's
// rules are held against.
type promise struct {
	slo.Objective
	rules    []recording
	burn     term // scale × core + offset is the burn rate
	failures term // the failed events
}

func promises(c Contract) []promise {
	var all []promise
	for _, o := range c.Objectives {
		p := promise{Objective: o, burn: opaque(), failures: opaque()}
		if c.Groups != nil {
			for _, g := range c.Groups.Groups {
				if g.Name == o.ID() || strings.HasPrefix(g.Name, o.ID()+"/") {
					p = p.with(g)
				}
			}
		}
		all = append(all, p)
	}
	return all
}

// with adds the rules of a group.
func (p promise) with(g rulefmt.RuleGroup) promise {
	raw := terms{recordings: func(*parser.VectorSelector) []recording { return nil }}
	for _, r := range g.Rules {
		expr, err := parseExpr(r.Expr)
		if err != nil {
			continue // rulegen parses what it writes
		}
		own := recording{record: r.Record, alert: r.Alert, group: g.Name, expr: expr, labels: r.Labels, hold: time.Duration(r.For), pos: p.Source()}
		p.rules = append(p.rules, own)
		switch {
		case strings.HasPrefix(r.Record, ownBurnRate) && p.burn.core != nil && p.burn.core.opaque:
			p.burn = raw.value(expr)
		case strings.HasPrefix(r.Record, ownFailures) && p.failures.core.opaque:
			p.failures = raw.value(expr)
		}
	}
	return p
}

// labelled reports whether a rule's labels name the promise: slowburn's own, Sloth's or Pyrra's. known is false where
// they name none.
func (p promise) labelled(r recording) (same, known bool) {
	service := cmp.Or(r.labels["sloth_service"], r.labels["service"])
	name := cmp.Or(r.labels["sloth_slo"], r.labels["slo"])
	if service == "" && name == "" {
		return false, false
	}
	return (service == "" || service == p.Service) && (name == p.Name || name == p.Service+"-"+p.Name), name != ""
}

// reading is one condition of an alert, in the promise's own terms.
type reading struct {
	condition
	window time.Duration
	burn   *big.Rat // the burn rate it compares with; nil for a number of failures
	events *big.Rat // the failures it compares with, within the window
	apart  string   // how the events differ that it counts
}

// read takes a condition as one about the promise; ok is false where it is about something else.
func (p promise) read(c condition) (reading, bool) {
	if c.core.opaque || c.value == nil || c.op == parser.EQLC || c.op == parser.NEQ {
		return reading{}, false
	}
	if r, ok := p.conventional(c); ok {
		return r, r.above()
	}
	if slices.ContainsFunc(slices.Concat(c.core.num, c.core.den), func(u use) bool { return foreign(u.matchers, p.Service) }) {
		return reading{}, false
	}
	if p.burn.core == nil || p.burn.core.opaque || len(p.burn.core.num) == 0 {
		return reading{}, false // the contract's own rules are not known
	}
	r := reading{condition: c, window: c.core.window()}
	if like := c.core.likeness(*p.burn.core); like != unlike {
		r = r.ratio(p, like)
		return r, r.above()
	}
	r, ok := r.failed(p)
	return r, ok && r.above()
}

func (r reading) above() bool { return r.op == parser.GTR || r.op == parser.GTE }

// ratio turns a share of events into a burn rate, by the contract's own burn rate of that share.
func (r reading) ratio(p promise, like likeness) reading {
	value := r.value
	if like == similar {
		r.apart = "of other events: " + describe(r.core)
		if !r.above() { // a share that must stay high is that of the good ones
			like = complement
		}
	}
	if like == complement {
		value, r.op = new(big.Rat).Sub(big.NewRat(1, 1), value), mirrored(r.op)
	}
	if p.burn.scale.Sign() < 0 {
		r.op = mirrored(r.op)
	}
	r.burn = new(big.Rat).Add(new(big.Rat).Mul(p.burn.scale, value), p.burn.offset)
	return r
}

// failed takes a count or a rate of failed events.
func (r reading) failed(p promise) (reading, bool) {
	if len(r.core.den) > 0 || len(r.core.num) == 0 || !eventsEqual(r.core.num, p.burn.core.num) {
		return r, false
	}
	r.events = r.value
	if f := r.core.num[0].function; f == "rate" || f == "irate" {
		r.events = new(big.Rat).Mul(r.value, big.NewRat(int64(r.window), int64(time.Second)))
	}
	return r, true
}

// conventional reads recordings of known names whose rules are not at hand.
func (p promise) conventional(c condition) (reading, bool) {
	if len(c.core.num) != 1 || len(c.core.den) != 0 {
		return reading{}, false
	}
	u := c.core.num[0]
	r := reading{condition: c}
	same, known := p.selected(u.matchers)
	if !same || !known {
		return reading{}, false
	}
	window, isBurn := strings.CutPrefix(u.metric, ownBurnRate)
	if isBurn {
		r.burn = c.value
	} else if window, isBurn = strings.CutPrefix(u.metric, ownFailures); isBurn {
		r.events = c.value
	} else if window, isBurn = conventionalRatio(u.metric); isBurn {
		budget, _ := rational(p.Target.Budget())
		r.burn = new(big.Rat).Quo(c.value, budget)
	}
	var err error
	r.window, err = slo.ParseWindow(window)
	return r, isBurn && err == nil
}

func conventionalRatio(metric string) (window string, ok bool) {
	if window, ok = strings.CutPrefix(metric, slothRatio); ok {
		return window, true
	}
	_, window, ok = strings.Cut(metric, pyrraRatio)
	return window, ok
}

// selected is labelled for a selector.
func (p promise) selected(matchers []*labels.Matcher) (same, known bool) {
	r := recording{labels: map[string]string{}}
	for _, m := range matchers {
		if m.Type == labels.MatchEqual {
			r.labels[m.Name] = m.Value
		}
	}
	return p.labelled(r)
}

// window is the window that all readings of a core have; zero where they have several, or none.
func (c core) window() time.Duration {
	uses := slices.Concat(c.num, c.den)
	for _, u := range uses {
		if u.window != uses[0].window {
			return 0
		}
	}
	if len(uses) == 0 {
		return 0
	}
	return uses[0].window
}

func describe(c core) string {
	list := func(uses []use) string {
		var all []string
		for _, u := range uses {
			s := parser.VectorSelector{Name: u.metric, LabelMatchers: append(slices.Clone(u.matchers), labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, u.metric))}
			all = append(all, s.String())
		}
		return strings.Join(all, " with ")
	}
	if len(c.den) == 0 {
		return list(c.num)
	}
	return list(c.num) + " among " + list(c.den)
}

// wording says what a tier or an alert asks for, with all equivalents of its threshold.
func (p promise) wording(burn float64, long time.Duration, windows ...time.Duration) string {
	text := fmt.Sprintf("burn rate %sx over %s (%s of events failing", number(burn), spans(windows), number(100*p.Target.ErrorRatio(burn))+"%")
	if long > 0 && p.Window > 0 {
		text += fmt.Sprintf(", %s%% of the %s budget in %s", number(100*slo.BudgetSpent(burn, long, p.Window)), slo.FormatWindow(p.Window), slo.FormatWindow(long))
	}
	return text + ")"
}

func (p promise) tierWording(t slo.Tier) string {
	text := p.wording(t.Factor, t.Long, t.Long, t.Short)
	if p.MinFailures > 0 {
		text += fmt.Sprintf(", %d failures in %s at least", p.MinFailures, slo.FormatWindow(t.Long))
	}
	if t.For > 0 {
		text += ", for " + slo.FormatWindow(t.For)
	}
	return text + ", severity " + t.Severity
}

func spans(windows []time.Duration) string {
	var all []string
	for _, w := range windows {
		if w == 0 {
			all = append(all, "no window that can be told")
			continue
		}
		all = append(all, slo.FormatWindow(w))
	}
	if len(all) == 1 {
		return all[0] + " alone"
	}
	return strings.Join(all, " and ")
}

func number(f float64) string {
	n, ok := rational(f)
	if !ok {
		return fmt.Sprint(f)
	}
	return decimal(n)
}
