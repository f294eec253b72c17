package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn/slowburn/web"
)

// pushPolicy says which alerts are sent to Alertmanager, by their verdict.
type pushPolicy struct {
	all          bool // held ones too
	holdUnproven bool
}

// parsePush reads --push and --unproven.
func parsePush(push, unproven string) (p pushPolicy, err error) {
	switch push {
	case "validated", "all":
		p.all = push == "all"
	default:
		return p, fmt.Errorf("--push %q: write validated or all", push)
	}
	switch unproven {
	case "push", "hold":
		p.holdUnproven = unproven == "hold"
	default:
		return p, fmt.Errorf("--unproven %q: write push or hold", unproven)
	}
	return p, nil
}

// pushes says whether alerts with a verdict are sent.
func (p pushPolicy) pushes(verdict string) bool {
	return p.all || verdict == verdictValidated || verdict == verdictUnproven && !p.holdUnproven
}

// receiver is what a gate needs of a Sender.
type receiver interface {
	Notify(ctx context.Context, expr string, alerts ...*rules.Alert)
	Told(a *rules.Alert) bool
}

// gate stands between evaluator and sender, and lets pass what history does not speak against. An alert that has been
// sent is sent until its end, whatever its verdict becomes meanwhile: Alertmanager would take silence for its end.
type gate struct {
	verdicts web.Verdicts
	next     receiver
	logger   *slog.Logger
	heldBack *prometheus.CounterVec

	mu   sync.Mutex
	held map[string]time.Time // labels of alerts held now → when they were last seen
}

// forgetHeld is how long a held alert is remembered that is not heard of again: its rule is gone.
const forgetHeld = 15 * time.Minute

func newGate(verdicts web.Verdicts, next receiver, r prometheus.Registerer, logger *slog.Logger) (*gate, error) {
	g := &gate{verdicts: verdicts, next: next, logger: logger, held: map[string]time.Time{}}
	g.heldBack = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "slowburn_alerts_held_total", Help: "Alerts that fired and were not sent, because history speaks against them.",
	}, []string{"service", "slo", "burn_tier"})
	if err := r.Register(g.heldBack); err != nil {
		return nil, fmt.Errorf("register metrics of held alerts: %w", err)
	}
	return g, nil
}

// Notify is a rules.NotifyFunc.
func (g *gate) Notify(ctx context.Context, expr string, alerts ...*rules.Alert) {
	passed := make([]*rules.Alert, 0, len(alerts))
	for _, a := range alerts {
		v, judged := g.verdicts.Of(a.Labels.Get)
		switch {
		case !judged || v.Verdict == verdictValidated:
			passed = append(passed, a)
		case v.Pushed || g.next.Told(a):
			passed = append(passed, marked(a, v))
		default:
			g.hold(a, v)
		}
	}
	if len(passed) > 0 {
		g.next.Notify(ctx, expr, passed...)
	}
}

// marked is a with its verdict as an annotation.
func marked(a *rules.Alert, v web.Verdict) *rules.Alert {
	own := *a
	b := labels.NewBuilder(a.Annotations)
	b.Set(web.VerdictAnnotation, v.String())
	own.Annotations = b.Labels()
	return &own
}

// hold counts and logs an alert once for each time it fires.
func (g *gate) hold(a *rules.Alert, v web.Verdict) {
	key, seen := a.Labels.String(), a.LastSentAt
	g.mu.Lock()
	defer g.mu.Unlock()
	_, known := g.held[key]
	if !a.ResolvedAt.IsZero() {
		delete(g.held, key)
		return
	}
	g.held[key] = seen
	if known {
		return
	}
	for other, last := range g.held {
		if seen.Sub(last) > forgetHeld {
			delete(g.held, other)
		}
	}
	g.heldBack.WithLabelValues(printableLabel(v.Service), printableLabel(v.SLO), printableLabel(v.Tier)).Inc()
	g.logger.Warn("Alert fires and is not sent", "slo", v.Service+"/"+v.SLO, "burn_tier", v.Tier, "tenant", v.Tenant, "verdict", v.String())
}

// start makes the counters of all tiers, at zero.
func (g *gate) start(p *plan) {
	for _, o := range p.objectives {
		for _, t := range o.Policy.Tiers {
			g.heldBack.WithLabelValues(printableLabel(o.Service), printableLabel(o.Name), printableLabel(t.Name))
		}
	}
}

// printableLabel is s as a label value.
func printableLabel(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
