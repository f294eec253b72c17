package main

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn/slowburn/web"
)

// bench is a judge that has made up its mind: verdicts by tenant.
type bench map[string]string

func (b bench) Of(label func(string) string) (web.Verdict, bool) {
	v, ok := b[label("tenant")]
	return web.Verdict{Service: "api", SLO: "availability", Tier: "fast", Tenant: label("tenant"), Verdict: v, Reasons: []string{"because"}, Pushed: pushPolicy{}.pushes(v)}, ok
}

func (b bench) All() []web.Verdict { return nil }

// mailbox keeps what was sent, by tenant.
type mailbox struct {
	got  []string
	told map[string]bool
}

func (m *mailbox) Notify(_ context.Context, _ string, alerts ...*rules.Alert) {
	for _, a := range alerts {
		m.got = append(m.got, a.Labels.Get("tenant")+" "+a.Annotations.Get(web.VerdictAnnotation))
	}
}

func (m *mailbox) Told(a *rules.Alert) bool { return m.told[a.Labels.Get("tenant")] }

func TestGate(t *testing.T) {
	at := time.Unix(1e9, 0)
	verdicts := bench{"sound": verdictValidated, "noisy": verdictHeld, "young": verdictUnproven, "begun": verdictHeld}
	box := &mailbox{told: map[string]bool{"begun": true}}
	var log bytes.Buffer
	g, err := newGate(verdicts, box, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	alert := func(tenant string) *rules.Alert {
		return &rules.Alert{Labels: labels.FromStrings("alertname", "ErrorBudgetBurn", "tenant", tenant), FiredAt: at, LastSentAt: at}
	}
	all := []*rules.Alert{alert("sound"), alert("noisy"), alert("young"), alert("begun"), alert("somebody else's")}
	g.Notify(t.Context(), "up", all...)
	want := []string{"sound ", "young unproven: because", "begun held: because", "somebody else's "}
	if !slices.Equal(box.got, want) {
		t.Errorf("sent %q, want %q", box.got, want)
	}
	if all[2].Annotations.Len() != 0 {
		t.Error("the evaluator's own alert was changed")
	}
	counted := func() float64 { return testutil.ToFloat64(g.heldBack.WithLabelValues("api", "availability", "fast")) }
	if counted() != 1 || strings.Count(log.String(), "Alert fires and is not sent") != 1 || !strings.Contains(log.String(), "because") {
		t.Errorf("%g held, log:\n%s", counted(), log.String())
	}
	g.Notify(t.Context(), "up", alert("noisy")) // again, as each resend delay does
	if counted() != 1 {
		t.Errorf("one firing is counted %g times", counted())
	}
	over := alert("noisy")
	over.ResolvedAt = at.Add(time.Minute)
	g.Notify(t.Context(), "up", over)
	g.Notify(t.Context(), "up", alert("noisy"))
	if counted() != 2 {
		t.Errorf("the second firing makes %g", counted())
	}
	verdicts["noisy"] = verdictValidated
	g.Notify(t.Context(), "up", alert("noisy"))
	if last := box.got[len(box.got)-1]; last != "noisy " {
		t.Errorf("once validated it must be sent, yet the last sent is %q", last)
	}
}

func TestPushPolicy(t *testing.T) {
	for _, row := range []struct{ push, unproven, sent string }{
		{"validated", "push", "validated unproven"},
		{"validated", "hold", "validated"},
		{"all", "push", "validated held unproven"},
		{"all", "hold", "validated held unproven"},
		{"some", "push", "--push \"some\": write validated or all"},
		{"all", "x", "--unproven \"x\": write push or hold"},
	} {
		p, err := parsePush(row.push, row.unproven)
		var sent []string
		for _, v := range []string{verdictValidated, verdictHeld, verdictUnproven} {
			if p.pushes(v) {
				sent = append(sent, v)
			}
		}
		got := strings.Join(sent, " ")
		if err != nil {
			got = err.Error()
		}
		if got != row.sent {
			t.Errorf("--push %s --unproven %s: %s, want %s", row.push, row.unproven, got, row.sent)
		}
	}
}
