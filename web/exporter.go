package web

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	api "github.com/prometheus/prometheus/web/api/v1"

	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

// lookback is how old a recording may be to be shown: what was recorded longer ago is not known any more.
const lookback = 5 * time.Minute

// Exporter tells of every SLO and tenant: objective, burn rates, budget left and alert states. It reads the
// recordings that the rules wrote, so that dashboards say what alerts say.
type Exporter struct {
	source  storage.Queryable
	rules   api.RulesRetriever
	now     func() time.Time
	logger  *slog.Logger
	current atomic.Pointer[[]slo.Objective]
	judge   Verdicts // nil where nobody judges

	objective, burnRate, remaining, exhaustion, state, verdict *prometheus.Desc

	failed prometheus.Counter
}

// NewExporter makes an Exporter over recordings in source, alerts in r and verdicts, if not nil; now is the clock.
func NewExporter(source storage.Queryable, r api.RulesRetriever, verdicts Verdicts, now func() time.Time, logger *slog.Logger) *Exporter {
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("slowburn_"+name, help, append([]string{"service", "slo"}, more...), nil)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	e := &Exporter{
		source: source, rules: r, judge: verdicts, now: now, logger: logger,
		objective:  desc("objective_ratio", "Promised share of good events."),
		burnRate:   desc("burn_rate", "How fast the error budget is spent; 1 spends it exactly over the SLO period.", "tenant", "window"),
		remaining:  desc("error_budget_remaining_ratio", "Share of the error budget that is left over the SLO period; negative when overspent.", "tenant"),
		exhaustion: desc("error_budget_exhaustion_seconds", "Seconds until the error budget is spent at the burn rate of the longest window.", "tenant"),
		state:      desc("alert_state", "State of a tier's alert: 1 pending, 2 firing. Absent while inactive.", "tenant", "burn_tier"),
		verdict:    desc("alert_verdict", "1 for the verdict that history gives of a tier's alert: validated, held or unproven.", "tenant", "burn_tier", "verdict"),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slowburn_exporter_read_failures_total", Help: "Collections in which recordings could not be read."}),
	}
	e.Update(nil)
	return e
}

// Update replaces the objectives that are told of. Of several with one service and name the first is kept: a
// series told twice would spoil all others.
func (e *Exporter) Update(objectives []slo.Objective) {
	var kept []slo.Objective
	seen := map[[2]string]bool{}
	for _, o := range objectives {
		o.Service, o.Name = printable(o.Service), printable(o.Name)
		if key := [2]string{o.Service, o.Name}; !seen[key] {
			seen[key] = true
			kept = append(kept, o)
		}
	}
	e.current.Store(&kept)
}

// printable is s as a label value: one that is no UTF-8 would end the process while it is collected.
func printable(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Describe implements prometheus.Collector.
func (e *Exporter) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{e.objective, e.burnRate, e.remaining, e.exhaustion, e.state, e.verdict} {
		ch <- d
	}
	e.failed.Describe(ch)
}

// Collect implements prometheus.Collector.
func (e *Exporter) Collect(ch chan<- prometheus.Metric) {
	for _, o := range *e.current.Load() {
		ch <- prometheus.MustNewConstMetric(e.objective, prometheus.GaugeValue, float64(o.Target), o.Service, o.Name)
		if err := e.collect(ch, o); err != nil {
			e.failed.Inc()
			e.logger.Warn("Read recordings", "slo", o.ID(), "err", err)
		}
		e.states(ch, o)
	}
	e.verdicts(ch)
	e.failed.Collect(ch)
}

// verdicts tells the verdicts, each alert's once.
func (e *Exporter) verdicts(ch chan<- prometheus.Metric) {
	if e.judge == nil {
		return
	}
	seen := map[[4]string]bool{}
	for _, v := range e.judge.All() {
		key := [4]string{printable(v.Service), printable(v.SLO), printable(v.Tenant), printable(v.Tier)}
		if !seen[key] {
			seen[key] = true
			ch <- prometheus.MustNewConstMetric(e.verdict, prometheus.GaugeValue, 1, key[0], key[1], key[2], key[3], v.Verdict)
		}
	}
}

func (e *Exporter) collect(ch chan<- prometheus.Metric, o slo.Objective) error {
	readings, err := e.read(o)
	if err != nil {
		return err
	}
	longest := map[string]float64{} // tenant → burn rate of the longest window
	for _, w := range o.Policy.Windows() {
		for tenant, v := range readings[rulegen.BurnRateMetric+slo.FormatWindow(w)] {
			longest[tenant] = v
			ch <- prometheus.MustNewConstMetric(e.burnRate, prometheus.GaugeValue, v, o.Service, o.Name, tenant, slo.FormatWindow(w))
		}
	}
	for tenant, left := range readings[rulegen.RemainingMetric] {
		ch <- prometheus.MustNewConstMetric(e.remaining, prometheus.GaugeValue, left, o.Service, o.Name, tenant)
		if burn := longest[tenant]; burn > 0 {
			seconds := max(0, left) * o.Window.Seconds() / burn
			ch <- prometheus.MustNewConstMetric(e.exhaustion, prometheus.GaugeValue, seconds, o.Service, o.Name, tenant)
		}
	}
	return nil
}

// read gives the newest value of each recording of o: metric → tenant → value.
func (e *Exporter) read(o slo.Objective) (map[string]map[string]float64, error) {
	now := e.now()
	q, err := e.source.Querier(now.Add(-lookback).UnixMilli(), now.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("open querier: %w", err)
	}
	defer q.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	set := q.Select(ctx, false, nil,
		labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, rulegen.BurnRateMetric+".*|"+rulegen.RemainingMetric),
		labels.MustNewMatcher(labels.MatchEqual, "service", o.Service),
		labels.MustNewMatcher(labels.MatchEqual, "slo", o.Name))
	readings := map[string]map[string]float64{}
	for set.Next() {
		series := set.At()
		metric, tenant := series.Labels().Get(labels.MetricName), printable(series.Labels().Get(o.Tenant.Label))
		v, ok, err := newest(series)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", series.Labels(), err)
		}
		if !ok {
			continue
		}
		if readings[metric] == nil {
			readings[metric] = map[string]float64{}
		}
		readings[metric][tenant] = v
	}
	return readings, set.Err()
}

// newest is the last value of a series, unless it has ended.
func newest(s storage.Series) (v float64, ok bool, err error) {
	it := s.Iterator(nil)
	for t := it.Next(); t != chunkenc.ValNone; t = it.Next() {
		if t == chunkenc.ValFloat {
			_, v = it.At()
			ok = !value.IsStaleNaN(v)
		}
	}
	return v, ok, it.Err()
}

func (e *Exporter) states(ch chan<- prometheus.Metric, o slo.Objective) {
	worst := map[[2]string]float64{}
	for _, rule := range e.rules.AlertingRules() {
		for _, a := range rule.ActiveAlerts() {
			if a.Labels.Get("service") != o.Service || a.Labels.Get("slo") != o.Name || !strings.HasPrefix(rule.Name(), rulegen.AlertName) {
				continue
			}
			key := [2]string{printable(a.Labels.Get(o.Tenant.Label)), printable(a.Labels.Get("burn_tier"))}
			switch a.State {
			case rules.StatePending:
				worst[key] = max(worst[key], 1)
			case rules.StateFiring:
				worst[key] = 2
			case rules.StateInactive, rules.StateUnknown:
			}
		}
	}
	for key, v := range worst {
		ch <- prometheus.MustNewConstMetric(e.state, prometheus.GaugeValue, v, o.Service, o.Name, key[0], key[1])
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
