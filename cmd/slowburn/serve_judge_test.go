package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/tsdb"
	"github.com/slowburn/slowburn/web"
)

// past is a history of three tenants, a sample a minute, up to a time: sound fails only in its last two hours, noisy
// fails one in five all the time, and young, which fails like noisy, came a day ago.
func past(t *testing.T, days int, end time.Time) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("# TYPE http_requests counter\n")
	begin := end.Add(-time.Duration(days) * 24 * time.Hour)
	for _, tenant := range []string{"noisy", "sound", "young"} {
		for _, code := range []string{"200", "500"} {
			total := 0.0
			for at := begin; !at.After(end); at = at.Add(time.Minute) {
				failed := tenant != "sound" || end.Sub(at) < 2*time.Hour
				switch {
				case code == "200":
					total += 80
				case failed:
					total += 20
				}
				if tenant != "young" || end.Sub(at) < 24*time.Hour {
					fmt.Fprintf(&text, "http_requests_total{service=\"svc\",tenant=%q,code=%q} %g %d\n", tenant, code, total, at.Unix())
				}
			}
		}
	}
	text.WriteString("# EOF\n")
	file := filepath.Join(t.TempDir(), "past.om")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func availability() slo.Objective {
	return slo.Objective{
		Service: "svc", Name: "availability", Target: 0.995, Window: slo.DefaultWindow, Policy: slo.DefaultPolicy(), MinFailures: 5,
		Indicator: slo.Availability{Errors: `http_requests_total{code=~"5.."}`, Total: "http_requests_total"}, Tenant: slo.Tenant{Label: "tenant"},
	}
}

func labelled(tenant, tier string) func(string) string {
	return func(name string) string {
		return map[string]string{"service": "svc", "slo": "availability", "tenant": tenant, "burn_tier": tier}[name]
	}
}

func TestJudge(t *testing.T) {
	h, err := tsdb.ReadOpenMetrics(t.Context(), past(t, 9, time.Unix(1_790_000_000, 0)), tsdb.HistoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	o := judgeOptions{
		after: 7 * 24 * time.Hour, tick: time.Minute, serviceLabel: "service", maxPages: backtest.DefaultMaxPages, interval: time.Hour,
		file: filepath.Join(t.TempDir(), "verdicts.json"), now: time.Now, logger: slog.New(slog.DiscardHandler),
	}
	j := newJudge(h, o)
	j.Update([]slo.Objective{availability()})
	if v, ok := j.Of(labelled("noisy", "fast")); !ok || v.String() != "unproven: not judged yet" || !v.Pushed {
		t.Errorf("before it has judged: %v %v", v, ok)
	}
	j.round(t.Context(), time.Now())
	want := map[string]string{
		"sound": "validated", "noisy": "held: fires 100% of the time",
		"young": "unproven: not enough history: 23h of events, and a verdict needs 7d", "new": "unproven: the history has no events of it",
	}
	check := func(what string, j *judge) {
		t.Helper()
		for tenant, text := range want {
			if v, ok := j.Of(labelled(tenant, "fast")); !ok || !strings.HasPrefix(v.String(), text) || v.Pushed == (v.Verdict == verdictHeld) {
				t.Errorf("%s: tenant %s: %+v, want %s", what, tenant, v, text)
			}
		}
	}
	check("judged", j)
	if _, ok := j.Of(labelled("noisy", "of a rule file")); ok {
		t.Error("an alert that is not ours is judged")
	}
	if got := len(j.All()); got != 6 {
		t.Errorf("%d verdicts, want those of 3 tenants in 2 tiers", got)
	}

	again := newJudge(h, o)
	again.Update([]slo.Objective{availability()})
	again.load()
	check("after a restart", again)
	if due := again.due(time.Now().Add(-time.Hour)); len(due) != 0 {
		t.Error("what was judged a moment ago is judged again")
	}
	other := availability()
	other.Target = 0.9
	again.Update([]slo.Objective{other})
	if v, _ := again.Of(labelled("noisy", "fast")); v.Verdict != verdictUnproven {
		t.Errorf("another promise inherits the verdict %v", v)
	}
	if err := os.WriteFile(o.file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := newJudge(h, o)
	damaged.Update([]slo.Objective{availability()})
	damaged.load()
	if v, _ := damaged.Of(labelled("noisy", "fast")); v.Verdict != verdictUnproven {
		t.Errorf("a damaged file gives %v", v)
	}
}

// TestRuleHoldsForWhatAnAlertDid holds that an alert which never fired isn't held: should it fire, who said that it can't was wrong.
func TestRuleHoldsForWhatAnAlertDid(t *testing.T) {
	j := newJudge(nil, judgeOptions{after: time.Hour, now: time.Now})
	tenant := backtest.Tenant{Covered: backtest.Span(time.Hour)}
	for _, row := range []struct {
		rule backtest.Rule
		want string
	}{
		{backtest.Rule{Verdict: backtest.Validated, Covered: 1}, verdictValidated},
		{backtest.Rule{Verdict: backtest.Held, Covered: 1, Firings: make([]backtest.Firing, 1)}, verdictHeld},
		{backtest.Rule{Verdict: backtest.Held, Covered: 1}, verdictUnproven},
		{backtest.Rule{Verdict: backtest.Held, Covered: 0.5, Firings: make([]backtest.Firing, 1)}, verdictUnproven},
	} {
		if v := j.rule(availability(), tenant, row.rule); v.Verdict != row.want {
			t.Errorf("%+v: %s, want %s", row.rule, v.Verdict, row.want)
		}
	}
}

// blank is a history without samples, that counts how often it is asked.
type blank struct {
	backtest.History
	asked atomic.Int32
}

func (b *blank) Extent() (mint, maxt int64) { b.asked.Add(1); return 0, -1 }

func TestJudgeRunsOnItsSchedule(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	synctest.Test(t, func(t *testing.T) {
		b := &blank{}
		j := newJudge(b, judgeOptions{interval: time.Hour, now: time.Now, logger: slog.New(slog.DiscardHandler)})
		j.Update([]slo.Objective{availability()})
		execute, interrupt := actor(j.Run)
		done := make(chan error, 1)
		go func() { done <- execute() }() // ends by the interrupt
		synctest.Wait()
		if n := b.asked.Load(); n != 1 {
			t.Errorf("judged %d times at the start", n)
		}
		j.Update([]slo.Objective{availability()}) // a reload that changes nothing
		synctest.Wait()
		if b.asked.Load() != 1 {
			t.Error("an objective that did not change is judged anew")
		}
		time.Sleep(150 * time.Minute) // of the bubble's clock
		synctest.Wait()
		if n := b.asked.Load(); n != 3 {
			t.Errorf("judged %d times in two and a half hours", n)
		}
		interrupt(nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

var _ web.Verdicts = (*judge)(nil)
