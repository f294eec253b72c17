package alerts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/alertmanager/api/v2/models"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/rules"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alertmanager is one that does in memory what the real one does, and can be made to fail.
type alertmanager struct {
	mu      sync.Mutex
	fails   func(ctx context.Context, alerts models.PostableAlerts) error // nil while it is well
	posts   int
	taken   map[string]*models.PostableAlert // newest state by alertname and n
	order   []string
	arrived map[string]time.Time
}

func newAlertmanager() *alertmanager {
	return &alertmanager{taken: map[string]*models.PostableAlert{}, arrived: map[string]time.Time{}}
}

func (a *alertmanager) post(ctx context.Context, alerts models.PostableAlerts) error {
	a.mu.Lock()
	fails := a.fails
	a.posts++
	a.mu.Unlock()
	if fails != nil {
		if err := fails(ctx, alerts); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range alerts {
		name := p.Labels["alertname"] + p.Labels["n"]
		a.taken[name] = p
		a.order = append(a.order, name)
		a.arrived[name] = time.Now()
	}
	return nil
}

func (a *alertmanager) fail(how func(ctx context.Context, alerts models.PostableAlerts) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails = how
}

func (a *alertmanager) has(name string) (starts, ends time.Time, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.taken[name]
	if !ok {
		return time.Time{}, time.Time{}, false
	}
	return time.Time(p.StartsAt), time.Time(p.EndsAt), true
}

func (a *alertmanager) count() (alerts, posts int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.order), a.posts
}

func down(context.Context, models.PostableAlerts) error { return errors.New("status 500: down") }

func hang(ctx context.Context, _ models.PostableAlerts) error {
	<-ctx.Done()
	return ctx.Err()
}

// network connects endpoints by their URL's host.
type network map[string]*alertmanager

func (n network) connect(e Endpoint) (Poster, error) {
	a, ok := n[e.URL]
	if !ok {
		return nil, fmt.Errorf("no route")
	}
	return a.post, nil
}

func (n network) endpoints() []Endpoint {
	var es []Endpoint
	for u := range n {
		es = append(es, Endpoint{URL: u})
	}
	slices.SortFunc(es, func(a, b Endpoint) int { return strings.Compare(a.URL, b.URL) })
	return es
}

func firing(name string, since time.Time) *rules.Alert {
	return &rules.Alert{
		State: rules.StateFiring, Labels: labels.FromStrings("alertname", name), Annotations: labels.FromStrings("summary", "s"),
		ActiveAt: since, FiredAt: since, ValidUntil: time.Now().Add(4 * time.Minute),
	}
}

func resolved(name string, since, at time.Time) *rules.Alert {
	a := firing(name, since)
	a.State, a.ResolvedAt = rules.StateInactive, at
	return a
}

// run starts s, and returns what stops it and waits.
func run(t *testing.T, s *Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }() // ends by cancel
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func newSender(t *testing.T, n network, o Options) *Sender {
	t.Helper()
	o.Connect = n.connect
	s, err := New(Config{Endpoints: n.endpoints()}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := newAlertmanager()
		s := newSender(t, network{"http://am": am}, Options{ExternalURL: "http://here"})
		defer run(t, s)()
		began := time.Now()
		s.Notify(t.Context(), "up == 0", firing("A", began))
		synctest.Wait()
		starts, ends, ok := am.has("A")
		if !ok || !starts.Equal(began) || !ends.Equal(began.Add(4*time.Minute)) {
			t.Errorf("firing: %v %v %v", starts, ends, ok)
		}
		if got := am.taken["A"].GeneratorURL.String(); got != "http://here/graph?g0.expr=up+%3D%3D+0&g0.tab=1" {
			t.Errorf("generatorURL %s", got)
		}
		time.Sleep(time.Minute) // of the bubble's clock
		s.Notify(t.Context(), "up == 0", resolved("A", began, time.Now()))
		synctest.Wait()
		if _, ends, _ := am.has("A"); !ends.Equal(began.Add(time.Minute)) {
			t.Errorf("resolved: %v", ends)
		}
		if alerts, posts := am.count(); alerts != 2 || posts != 2 {
			t.Errorf("%d alerts in %d posts", alerts, posts)
		}
	})
}

func TestLabelsOnTheWay(t *testing.T) {
	for _, row := range []struct {
		what  string
		alert labels.Labels
		want  models.LabelSet
	}{
		{"external labels are added", labels.FromStrings("alertname", "A"), models.LabelSet{"alertname": "A", "site": "x"}},
		{"but do not replace", labels.FromStrings("alertname", "A", "site", "y"), models.LabelSet{"alertname": "A", "site": "y"}},
		{"relabelling changes", labels.FromStrings("alertname", "A", "replica", "1"), models.LabelSet{"alertname": "A", "site": "x"}},
		{"and drops", labels.FromStrings("alertname", "Drop"), nil},
	} {
		s := newSender(t, network{}, Options{})
		if err := s.Apply(Config{
			ExternalLabels: labels.FromStrings("site", "x"),
			Relabel: []*relabel.Config{
				rule(relabel.LabelDrop, "replica"),
				rule(relabel.Drop, "Drop", "alertname"),
			},
		}); err != nil {
			t.Fatal(err)
		}
		got, keep := s.item("1", &rules.Alert{Labels: row.alert})
		if keep != (row.want != nil) || keep && fmt.Sprint(got.Labels) != fmt.Sprint(map[string]string(row.want)) {
			t.Errorf("%s: %v %v", row.what, got.Labels, keep)
		}
	}
}

func rule(action relabel.Action, regex string, source ...model.LabelName) *relabel.Config {
	c := relabel.DefaultRelabelConfig
	c.Action, c.Regex, c.SourceLabels = action, relabel.MustNewRegexp(regex), source
	return &c
}

// E12, E13, E15: outages of ten minutes, of every kind, of one of three.
func TestOutage(t *testing.T) {
	for _, row := range []struct {
		what string
		how  func(context.Context, models.PostableAlerts) error
	}{{"500", down}, {"hang", hang}} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ill, well := newAlertmanager(), newAlertmanager()
				s := newSender(t, network{"http://ill": ill, "http://well": well}, Options{})
				defer run(t, s)()
				began := time.Now()
				s.Notify(t.Context(), "1", firing("A", began))
				synctest.Wait()
				ill.fail(row.how)
				for range 10 {
					time.Sleep(time.Minute)
					s.Notify(t.Context(), "1", firing("B", began.Add(time.Minute)))
					if time.Since(began) == 2*time.Minute {
						s.Notify(t.Context(), "1", resolved("A", began, time.Now()))
						synctest.Wait()
						if _, ends, _ := well.has("A"); ends.After(time.Now()) {
							t.Errorf("the other Alertmanager was not told in time")
						}
					}
				}
				ill.fail(nil)
				back := time.Now()
				time.Sleep(30 * time.Second)
				synctest.Wait()
				if _, ends, _ := ill.has("A"); !ends.Equal(began.Add(2 * time.Minute)) {
					t.Errorf("A ended %v", ends)
				}
				starts, ends, ok := ill.has("B")
				if !ok || !starts.Equal(began.Add(time.Minute)) || !ends.After(time.Now()) {
					t.Errorf("B: %v %v %v", starts, ends, ok)
				}
				if late := ill.arrived["B"].Sub(back); late > 30*time.Second {
					t.Errorf("B came %s after the return", late)
				}
			})
		})
	}
}

func TestRetryPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := newAlertmanager()
		am.fail(down)
		s := newSender(t, network{"http://am": am}, Options{})
		stop := run(t, s)
		s.Notify(t.Context(), "1", firing("A", time.Now()))
		time.Sleep(10 * time.Minute)
		if _, posts := am.count(); posts < 60 || posts > 130 {
			t.Errorf("%d posts in ten minutes", posts)
		}
		am.fail(nil)
		stop()
	})
}

// E17: what is invalid is dropped and named, the rest arrives.
func TestInvalidAlert(t *testing.T) {
	for _, bad := range []string{"odd.name", "looksfine"} {
		t.Run(bad, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				am := newAlertmanager()
				am.fail(func(_ context.Context, alerts models.PostableAlerts) error {
					for _, a := range alerts {
						if _, ok := a.Labels[bad]; ok {
							return &ErrRefused{Reason: "invalid label name"}
						}
					}
					return nil
				})
				var log strings.Builder
				reg := prometheus.NewPedanticRegistry()
				s := newSender(t, network{"http://am": am}, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: reg})
				var all []*rules.Alert
				for n := range 256 {
					a := firing("A", time.Now())
					a.Labels = labels.FromStrings("alertname", "A", "n", fmt.Sprint(n))
					if n == 100 {
						a.Labels = labels.FromStrings("alertname", "A", "n", "100", bad, "x")
					}
					all = append(all, a)
				}
				s.Notify(t.Context(), "1", all...)
				stop := run(t, s)
				for range 5 {
					time.Sleep(time.Minute)
					s.Notify(t.Context(), "1", all[100])
				}
				stop()
				alerts, posts := am.count()
				if alerts != 255 || len(am.taken) != 255 {
					t.Errorf("%d alerts arrived, %d different ones", alerts, len(am.taken))
				}
				if posts > 25 {
					t.Errorf("%d posts: the invalid alert is retried for ever", posts)
				}
				if !strings.Contains(log.String(), bad) {
					t.Errorf("the log does not name the alert")
				}
				if got := testutil.ToFloat64(s.metrics.dropped.WithLabelValues("http://am", reasonInvalid)); got != 6 {
					t.Errorf("%v dropped as invalid", got)
				}
			})
		})
	}
}

// E21: SIGTERM with 5,000 queued.
func TestDrain(t *testing.T) {
	many := func(n int) (all []*rules.Alert) {
		for i := range n {
			a := firing("A", time.Now())
			a.Labels = labels.FromStrings("alertname", "A", "n", fmt.Sprint(i))
			all = append(all, a)
		}
		return all
	}
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			am := newAlertmanager()
			am.fail(func(context.Context, models.PostableAlerts) error { time.Sleep(200 * time.Millisecond); return nil })
			s := newSender(t, network{"http://am": am}, Options{})
			s.Notify(t.Context(), "1", many(5000)...)
			stop := run(t, s)
			began := time.Now()
			stop()
			if took := time.Since(began); took > 15*time.Second || len(am.taken) != 5000 {
				t.Errorf("%d delivered in %s", len(am.taken), took)
			}
		})
	})
	t.Run("dead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			am, well := newAlertmanager(), newAlertmanager()
			am.fail(hang)
			var log strings.Builder
			s := newSender(t, network{"http://am": am, "http://well": well}, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			s.Notify(t.Context(), "1", many(5000)...)
			stop := run(t, s)
			began := time.Now()
			stop()
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("took %s", took)
			}
			if !strings.Contains(log.String(), "count=5000 kept=false") {
				t.Errorf("log: %s", log.String())
			}
			if len(well.taken) != 5000 {
				t.Errorf("the other got %d", len(well.taken))
			}
		})
	})
}

func TestQueueIsBoundedByAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := newAlertmanager()
		s := newSender(t, network{"http://am": am}, Options{MaxQueue: 3})
		now := time.Now()
		for range 100 {
			s.Notify(t.Context(), "1", firing("A", now))
		}
		if n := s.Queued(); n != 1 {
			t.Errorf("%d states of one alert are queued", n)
		}
		s.Notify(t.Context(), "1", resolved("R", now, now), firing("B", now), firing("C", now), firing("D", now))
		defer run(t, s)()
		synctest.Wait()
		if got := strings.Join(am.order, ""); got != "BCD" {
			t.Errorf("delivered %s", got)
		}
		if got := testutil.ToFloat64(s.metrics.dropped.WithLabelValues("http://am", reasonFull)); got != 2 {
			t.Errorf("%v dropped", got)
		}
	})
}

func TestApply(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		net := network{"http://a": newAlertmanager(), "http://b": newAlertmanager(), "http://c": newAlertmanager()}
		reg := prometheus.NewPedanticRegistry()
		s, err := New(Config{Endpoints: []Endpoint{{URL: "http://a"}, {URL: "http://b"}}}, Options{Connect: net.connect, Dir: dir, Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		net["http://a"].fail(down)
		net["http://b"].fail(down)
		stop := run(t, s)
		s.Notify(t.Context(), "1", firing("A", time.Now()))
		time.Sleep(time.Second)
		for _, wrong := range [][]Endpoint{{{URL: "http://c"}, {URL: "http://nowhere"}}, {{URL: "http://c"}, {URL: "http://c/"}}, {{URL: "c:9093"}}} {
			if err := s.Apply(Config{Endpoints: wrong}); err == nil {
				t.Errorf("%v was taken", wrong)
			}
		}
		if got := fmt.Sprint(s.Alertmanagers()); got != "[http://a/api/v2/alerts http://b/api/v2/alerts]" {
			t.Errorf("after a bad Apply: %s", got)
		}
		if err := s.Apply(Config{Endpoints: []Endpoint{{URL: "http://b"}, {URL: "http://c"}}}); err != nil {
			t.Fatal(err)
		}
		net["http://a"].fail(nil)
		net["http://b"].fail(nil)
		time.Sleep(30 * time.Second)
		s.Notify(t.Context(), "1", firing("B", time.Now()))
		synctest.Wait()
		for u, want := range map[string]string{"http://a": "", "http://b": "AB", "http://c": "B"} {
			if got := strings.Join(net[u].order, ""); got != want {
				t.Errorf("%s got %q, want %q", u, got, want)
			}
		}
		if n := testutil.CollectAndCount(s.metrics.sent); n != 2 {
			t.Errorf("%d Alertmanagers in the metrics", n)
		}
		stop()
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 2 {
			t.Errorf("files: %v", files)
		}
	})
}

func TestMetricsBeginAtZero(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s, err := New(Config{Endpoints: []Endpoint{{URL: "http://user:hunter2@am:9093/path/"}}}, Options{Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	want := `
# HELP slowburn_alerts_dropped_total Alerts given up, by reason.
# TYPE slowburn_alerts_dropped_total counter
slowburn_alerts_dropped_total{alertmanager="http://am:9093/path",reason="expired"} 0
slowburn_alerts_dropped_total{alertmanager="http://am:9093/path",reason="invalid"} 0
slowburn_alerts_dropped_total{alertmanager="http://am:9093/path",reason="queue_full"} 0
# HELP slowburn_alerts_failed_posts_total POSTs to an Alertmanager that failed.
# TYPE slowburn_alerts_failed_posts_total counter
slowburn_alerts_failed_posts_total{alertmanager="http://am:9093/path"} 0
# HELP slowburn_alerts_last_success_timestamp_seconds When an Alertmanager last took alerts; 0 if never.
# TYPE slowburn_alerts_last_success_timestamp_seconds gauge
slowburn_alerts_last_success_timestamp_seconds{alertmanager="http://am:9093/path"} 0
`
	err = testutil.GatherAndCompare(reg, strings.NewReader(want),
		"slowburn_alerts_dropped_total", "slowburn_alerts_failed_posts_total", "slowburn_alerts_last_success_timestamp_seconds")
	if err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(s.Alertmanagers()); got != "[http://am:9093/path/api/v2/alerts]" {
		t.Error(got)
	}
}

func TestBadEndpoints(t *testing.T) {
	for _, u := range []string{"", "am:9093", "ftp://am", "http://", "http://user:hunter2@[::1", "http://user:hunter2@am:port", "//user:hunter2@am"} {
		_, err := New(Config{Endpoints: []Endpoint{{URL: u}}}, Options{})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// TestToldIsWhatHasBegun holds that an alert counts as told from its queueing until its end, and no longer.
func TestToldIsWhatHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := newAlertmanager()
		dir, net := t.TempDir(), network{"http://a": am}
		began := time.Now()
		s := newSender(t, net, Options{Dir: dir})
		end := run(t, s)
		if s.Told(firing("a", began)) {
			t.Error("told before anything was queued")
		}
		s.Notify(t.Context(), "up", firing("a", began))
		if !s.Told(firing("a", began)) {
			t.Error("not told, though it is queued")
		}
		time.Sleep(time.Minute) // of the bubble's clock
		synctest.Wait()
		if !s.Told(firing("a", began)) || s.Told(firing("b", began)) {
			t.Error("told is not what was delivered")
		}
		end()
		s = newSender(t, net, Options{Dir: dir})
		defer run(t, s)()
		if !s.Told(firing("a", began)) {
			t.Error("forgotten over a restart")
		}
		if s.Told(firing("a", time.Now().Add(time.Hour))) {
			t.Error("a later firing counts as told")
		}
		s.Notify(t.Context(), "up", resolved("a", began, time.Now()))
		time.Sleep(time.Minute) // of the bubble's clock
		synctest.Wait()
		if s.Told(firing("a", began)) {
			t.Error("told after its end was delivered")
		}
	})
}
