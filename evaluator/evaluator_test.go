package evaluator

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"
)

// inbox keeps what an Evaluator notifies.
type inbox struct {
	mu     sync.Mutex
	alerts []rules.Alert
}

func (b *inbox) notify(_ context.Context, _ string, alerts ...*rules.Alert) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range alerts {
		b.alerts = append(b.alerts, *a)
	}
}

func (b *inbox) states() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, a := range b.alerts {
		state := "firing"
		if !a.ResolvedAt.IsZero() {
			state = "resolved"
		}
		if name := a.Labels.Get("alertname") + " " + state; len(all) == 0 || all[len(all)-1] != name {
			all = append(all, name)
		}
	}
	return strings.Join(all, ", ")
}

// running starts Run; the returned function ends it and waits.
func running(t *testing.T, e *Evaluator) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }() // ends with stop
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func put(t *testing.T, db storage.Appendable, at time.Time, value float64, names ...string) {
	t.Helper()
	app := db.Appender(t.Context())
	if _, err := app.Append(0, labels.FromStrings(names...), at.UnixMilli(), value); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

func groupOf(name, expr string, hold time.Duration) *rulefmt.RuleGroups {
	return &rulefmt.RuleGroups{Groups: []rulefmt.RuleGroup{{
		Name: name, Interval: model.Duration(time.Minute),
		Rules: []rulefmt.Rule{{Alert: name, Expr: expr, For: model.Duration(hold)}},
	}}}
}

func writeRules(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const soundRules = `groups:
- name: sound
  interval: 1m
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
`

func TestUpdateNamesEveryFaultAndKeepsTheOldRules(t *testing.T) {
	db := promqltest.LoadedStorage(t, "")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	e := New(db, Options{})
	sound := writeRules(t, "sound.yml", soundRules)
	if err := e.Update(Rules{Groups: groupOf("Generated", "vector(1)", 0), Files: []string{sound}}); err != nil {
		t.Fatal(err)
	}
	defer running(t, e)()
	broken := writeRules(t, "broken.yml", "groups:\n- name: a\n  rules:\n  - record: x\n    expr: sum(\n  - alert: y\n    expr: rate(\n")
	unknown := writeRules(t, "unknown.yml", "groups:\n- name: a\n  rule: []\n  colour: red\n")
	torn := writeRules(t, "torn.yml", "groups:\n- name: a\n  rules: [\n")
	absent := filepath.Join(t.TempDir(), "absent.yml")
	bad := groupOf("Bad", "sum(", 0)
	bad.Groups = append(bad.Groups, groupOf("Bad", "up", 0).Groups...)

	err := e.Update(Rules{Groups: bad, Files: []string{sound, broken, unknown, torn, absent}})
	if err == nil {
		t.Fatal("faulty rules are taken")
	}
	for _, part := range []string{
		broken + ":5:", broken + ":7:", unknown + ":3: field rule not found", unknown + ":4: field colour not found", torn + ":",
		absent + ": open", "generated rules: ", `groupname: "Bad" is repeated`,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not named in:\n%v", part, err)
		}
	}
	if got := groupNames(e); got != "sound Generated" {
		t.Errorf("after the refusal: groups %s", got)
	}
	if err := e.Update(Rules{Files: []string{sound}}); err != nil {
		t.Fatal(err)
	}
	if got := groupNames(e); got != "sound" {
		t.Errorf("after a smaller update: groups %s", got)
	}
}

// TestUpdateTakesAFileNamedLikeGeneratedRules: a user's file may have the name under which generated groups appear.
func TestUpdateTakesAFileNamedLikeGeneratedRules(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(GeneratedFile, []byte(soundRules), 0o600); err != nil {
		t.Fatal(err)
	}
	e := New(promqltest.LoadedStorage(t, ""), Options{})
	if err := e.Update(Rules{Groups: groupOf("Generated", "vector(1)", 0), Files: []string{GeneratedFile}}); err != nil {
		t.Fatal(err)
	}
	defer running(t, e)()
	if got := groupNames(e); got != "sound Generated" {
		t.Errorf("groups %s", got)
	}
}

func groupNames(e *Evaluator) string {
	var names []string
	for _, g := range e.RuleGroups() {
		names = append(names, g.Name())
	}
	return strings.Join(names, " ")
}

func TestRunReturnsAndLeavesNothing(t *testing.T) {
	db := promqltest.LoadedStorage(t, "")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	e := New(db, Options{Interval: time.Second})
	if err := e.Update(Rules{Groups: groupOf("Always", "vector(1)", 0)}); err != nil {
		t.Fatal(err)
	}
	running(t, e)()
	if err := e.Update(Rules{Groups: groupOf("Late", "vector(1)", 0)}); err != nil {
		t.Errorf("an update after Run: %v", err)
	}
}

// stuck is a storage whose queries wait for their end.
type stuck struct {
	storage.Appendable
	asked chan struct{}
}

func (s stuck) Querier(int64, int64) (storage.Querier, error) {
	return stuckQuerier{asked: s.asked}, nil
}

type stuckQuerier struct {
	storage.LabelQuerier
	asked chan struct{}
}

func (q stuckQuerier) Select(ctx context.Context, _ bool, _ *storage.SelectHints, _ ...*labels.Matcher) storage.SeriesSet {
	select {
	case q.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return storage.ErrSeriesSet(ctx.Err())
}

func (stuckQuerier) Close() error { return nil }

func TestRunCutsOffQueriesThatDoNotEnd(t *testing.T) {
	db := promqltest.LoadedStorage(t, "")
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan struct{}, 1)
		e := New(stuck{db, asked}, Options{Interval: time.Second})
		if err := e.Update(Rules{Groups: groupOf("Stuck", "up == 0", 0)}); err != nil {
			t.Fatal(err)
		}
		stop := running(t, e)
		<-asked
		start := time.Now()
		stop()
		if spent := time.Since(start); spent > stopPatience {
			t.Errorf("Run ended after %s", spent)
		}
	})
}

func TestNotifiesFiringAndResolved(t *testing.T) {
	db := promqltest.LoadedStorage(t, "")
	synctest.Test(t, func(t *testing.T) {
		box := &inbox{}
		e := New(db, Options{Notify: box.notify})
		if err := e.Update(Rules{Groups: groupOf("Down", "up == 0", 2*time.Minute)}); err != nil {
			t.Fatal(err)
		}
		defer running(t, e)()
		for minute := range 12 {
			value := 0.
			if minute >= 6 {
				value = 1
			}
			put(t, db, time.Now(), value, "__name__", "up", "job", "api")
			if minute == 1 && box.states() != "" {
				t.Errorf("notified while pending: %s", box.states())
			}
			<-time.After(time.Minute)
		}
		if got := box.states(); got != "Down firing, Down resolved" {
			t.Errorf("notified %s", got)
		}
	})
}

func TestUpdateKeepsTheStateOfUnchangedGroups(t *testing.T) {
	db := promqltest.LoadedStorage(t, "")
	synctest.Test(t, func(t *testing.T) {
		e := New(db, Options{})
		groups := groupOf("Kept", "vector(1)", 0)
		if err := e.Update(Rules{Groups: groups}); err != nil {
			t.Fatal(err)
		}
		defer running(t, e)()
		<-time.After(3 * time.Minute)
		before := e.AlertingRules()[0].ActiveAlerts()[0].FiredAt
		kept := e.RuleGroups()[0]
		groups = &rulefmt.RuleGroups{Groups: append(groupOf("Kept", "vector(1)", 0).Groups, groupOf("New", "vector(2)", 0).Groups...)}
		if err := e.Update(Rules{Groups: groups}); err != nil {
			t.Fatal(err)
		}
		if got := groupNames(e); got != "Kept New" || e.RuleGroups()[0] != kept {
			t.Errorf("groups %s; the unchanged one was made anew: %v", got, e.RuleGroups()[0] != kept)
		}
		<-time.After(3 * time.Minute)
		if after := e.AlertingRules()[0].ActiveAlerts()[0].FiredAt; !after.Equal(before) {
			t.Errorf("fired at %s before the update, %s after", before, after)
		}
	})
}

// TestRestoresForAfterARestart: an alert that has been pending for 20 of 30 minutes does not begin again.
func TestRestoresForAfterARestart(t *testing.T) {
	db := promqltest.LoadedStorage(t, "")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		groups := groupOf("Slow", "vector(1)", 30*time.Minute)
		first := New(db, Options{})
		if err := first.Update(Rules{Groups: groups}); err != nil {
			t.Fatal(err)
		}
		stop := running(t, first)
		<-time.After(20 * time.Minute)
		stop()
		<-time.After(2 * time.Minute)

		box := &inbox{}
		second := New(db, Options{Notify: box.notify})
		if err := second.Update(Rules{Groups: groups}); err != nil {
			t.Fatal(err)
		}
		defer running(t, second)()
		for box.states() == "" && time.Since(began) < 2*time.Hour {
			<-time.After(time.Minute)
		}
		// Ten minutes are left, and the grace period of upstream lets no restored alert fire sooner than that.
		if after := time.Since(began); after < 30*time.Minute || after > 40*time.Minute {
			t.Errorf("fired %s after it began: %s", after, box.states())
		}
	})
}
