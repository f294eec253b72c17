package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/tsdb"
	"github.com/slowburn/slowburn/web"
)

// Verdicts on the alerts of a watch. The third one of them the back-test does not know: what history is too
// short to tell.
const (
	verdictValidated = string(backtest.Validated)
	verdictHeld      = string(backtest.Held)
	verdictUnproven  = "unproven"
)

// Defaults of judging.
const (
	defaultJudgeInterval = time.Hour
	defaultJudgeAfter    = 7 * 24 * time.Hour // pages a week can't be counted in less
	verdictFile          = "verdicts.json"
	judgePatience        = 15 * time.Minute // for one objective
	inferredIncident     = 0.01             // share of the budget: who burns that much has reason to page
)

// judgeOptions says how a judge goes about it.
type judgeOptions struct {
	interval     time.Duration // between judgements
	after        time.Duration // of events a tenant needs before its alerts are judged
	tick         time.Duration // of the replay
	serviceLabel string
	maxPages     float64
	push         pushPolicy
	file         string // where verdicts outlive the process
	now          func() time.Time
	logger       *slog.Logger
}

func (o judgeOptions) withDefaults() judgeOptions {
	if o.interval == 0 {
		o.interval = defaultJudgeInterval
	}
	if o.after == 0 {
		o.after = defaultJudgeAfter
	}
	return o
}

// judge back-tests the alerts of all objectives on the embedded history, again and again as it grows.
// Its verdicts are replaced objective by objective; it never holds up an evaluation.
type judge struct {
	o       judgeOptions
	history backtest.History
	changed chan struct{} // holds one token while there are objectives without a judgement

	mu         sync.RWMutex
	objectives map[[2]string]*docket // by service and SLO
}

// docket is one objective and what was found of it.
type docket struct {
	slo.Objective
	fingerprint string
	judged      time.Time                 // zero until then
	verdicts    map[[2]string]web.Verdict // by tier and tenant
}

// embedded is the live database as a history.
type embedded struct{ *tsdb.DB }

// Extent implements backtest.History.
func (e embedded) Extent() (mint, maxt int64) {
	mint, maxt, ok := e.DB.Extent()
	if !ok {
		return 0, -1
	}
	return mint, maxt
}

func newJudge(history backtest.History, o judgeOptions) *judge {
	return &judge{o: o, history: history, changed: make(chan struct{}, 1), objectives: map[[2]string]*docket{}}
}

// Update replaces the objectives. Those that did not change keep their verdicts.
func (j *judge) Update(objectives []slo.Objective) {
	j.mu.Lock()
	defer j.mu.Unlock()
	next := map[[2]string]*docket{}
	for _, o := range objectives {
		key := [2]string{o.Service, o.Name}
		d := &docket{Objective: o, fingerprint: fingerprint(o), verdicts: map[[2]string]web.Verdict{}}
		if old := j.objectives[key]; old != nil && old.fingerprint == d.fingerprint {
			d.judged, d.verdicts = old.judged, old.verdicts
		}
		next[key] = d
	}
	j.objectives = next
	j.wake()
}

func (j *judge) wake() {
	select {
	case j.changed <- struct{}{}:
	default: // a token is there already
	}
}

// Run judges until ctx is cancelled: at once what has no judgement, and everything each time the interval has passed.
func (j *judge) Run(ctx context.Context) error {
	again := time.NewTicker(j.o.interval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-j.changed:
			j.round(ctx, j.o.now().Add(-j.o.interval))
		case <-again.C:
			j.round(ctx, j.o.now())
		}
	}
}

// round judges, one after the other, the objectives whose judgement is older than a time, and keeps what it found.
func (j *judge) round(ctx context.Context, olderThan time.Time) {
	worked := false
	for _, d := range j.due(olderThan) {
		verdicts, err := j.try(ctx, d.Objective)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			j.o.logger.Warn("Judge alerts; the last verdicts stand", "slo", d.ID(), "err", err)
			continue
		}
		j.settle(d, verdicts)
		worked = true
	}
	if !worked {
		return
	}
	if err := j.save(); err != nil {
		j.o.logger.Warn("Keep verdicts", "err", err)
	}
}

func (j *judge) due(olderThan time.Time) []*docket {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var due []*docket
	for _, d := range j.objectives {
		if !d.judged.After(olderThan) {
			due = append(due, d)
		}
	}
	slices.SortFunc(due, func(a, b *docket) int { return strings.Compare(a.ID(), b.ID()) })
	return due
}

// try back-tests one objective on one core.
func (j *judge) try(ctx context.Context, o slo.Objective) (map[[2]string]web.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, judgePatience)
	defer cancel()
	result, err := backtest.Run(ctx, []slo.Objective{o}, j.history, backtest.Options{
		Interval: j.tick(o), ServiceLabel: j.o.serviceLabel, Infer: inferredIncident, MaxPages: j.o.maxPages,
		Parallelism: 1, Logger: j.o.logger,
	})
	verdicts := map[[2]string]web.Verdict{}
	if errors.Is(err, backtest.ErrNoHistory) {
		return verdicts, nil
	}
	if err != nil {
		return nil, err
	}
	for _, s := range result.SLOs {
		for _, t := range s.Tenants {
			for _, r := range t.Rules {
				verdicts[[2]string{r.Tier, t.Name}] = j.rule(o, t, r)
			}
		}
	}
	return verdicts, nil
}

// tick is how finely an objective is replayed: each of its windows has at least a few steps.
func (j *judge) tick(o slo.Objective) time.Duration {
	shortest := slices.Min(append(o.Policy.Windows(), time.Hour))
	return max(time.Second, min(time.Minute, max(j.o.tick, shortest/5)))
}

// rule turns what a back-test found into a verdict. An alert is held for what it did, not for what it did not do: one
// that never fired in all of history has shown no fault, and should it fire, it has refuted whoever said it can't.
func (j *judge) rule(o slo.Objective, t backtest.Tenant, r backtest.Rule) web.Verdict {
	v := web.Verdict{Service: o.Service, SLO: o.Name, Tier: r.Tier, Tenant: t.Name, Verdict: verdictUnproven, Reasons: r.Reasons, Judged: j.o.now().UTC()}
	covered := time.Duration(t.Covered)
	switch {
	case covered < j.o.after:
		v.Reasons = []string{fmt.Sprintf("not enough history: %s of events, and a verdict needs %s", slo.FormatWindow(rounded(covered)), slo.FormatWindow(j.o.after))}
	case r.Verdict == backtest.Validated:
		v.Verdict = verdictValidated
	case len(r.Firings) > 0 && r.Covered >= 1:
		v.Verdict = verdictHeld
	}
	v.Pushed = j.o.push.pushes(v.Verdict)
	return v
}

// rounded is a duration as one would say it.
func rounded(d time.Duration) time.Duration {
	if d >= time.Hour {
		return d.Truncate(time.Hour)
	}
	return d.Truncate(time.Second)
}

// settle puts verdicts in force, unless the objective has changed meanwhile, and logs those that turned.
func (j *judge) settle(tried *docket, verdicts map[[2]string]web.Verdict) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d := j.objectives[[2]string{tried.Service, tried.Name}]
	if d == nil || d.fingerprint != tried.fingerprint {
		return
	}
	for key, v := range verdicts {
		switch old := d.verdicts[key].Verdict; {
		case v.Verdict == verdictHeld && old != verdictHeld:
			j.o.logger.Warn("Alert is held back", "slo", d.ID(), "burn_tier", v.Tier, "tenant", v.Tenant, "reason", strings.Join(v.Reasons, "; "))
		case v.Verdict != verdictHeld && old == verdictHeld:
			j.o.logger.Info("Alert is no longer held back", "slo", d.ID(), "burn_tier", v.Tier, "tenant", v.Tenant, "verdict", v.String())
		}
	}
	d.judged, d.verdicts = j.o.now(), verdicts
}

// Of implements web.Verdicts. Alerts of objectives are told by their labels; those of rule files that were loaded
// as they are belong to nobody here, and are not judged.
func (j *judge) Of(label func(string) string) (web.Verdict, bool) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	d := j.objectives[[2]string{label("service"), label("slo")}]
	if d == nil {
		return web.Verdict{}, false
	}
	tier := label("burn_tier")
	if !slices.ContainsFunc(d.Policy.Tiers, func(t slo.Tier) bool { return t.Name == tier }) {
		return web.Verdict{}, false
	}
	tenant := ""
	if d.Tenant.Label != "" {
		tenant = label(d.Tenant.Label)
	}
	if v, ok := d.verdicts[[2]string{tier, tenant}]; ok {
		return v, true
	}
	v := web.Verdict{
		Service: d.Service, SLO: d.Name, Tier: tier, Tenant: tenant, Verdict: verdictUnproven, Pushed: j.o.push.pushes(verdictUnproven),
		Reasons: []string{"not judged yet"}, Judged: d.judged,
	}
	if !d.judged.IsZero() {
		v.Reasons = []string{"the history has no events of it"}
	}
	return v, true
}

// All implements web.Verdicts.
func (j *judge) All() []web.Verdict {
	j.mu.RLock()
	defer j.mu.RUnlock()
	var all []web.Verdict
	for _, d := range j.objectives {
		for _, v := range d.verdicts {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b web.Verdict) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.SLO, b.SLO), strings.Compare(a.Tenant, b.Tenant), strings.Compare(a.Tier, b.Tier))
	})
	return all
}
