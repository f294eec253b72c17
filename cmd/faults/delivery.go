package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

func deliveryFaults() []experiment {
	return []experiment{
		{id: "E12", fault: "Alertmanager answers 500; one alert ends meanwhile, one begins", criterion: "both told 30 s after its return, true starts", trials: 10, short: 1, limit: 15 * time.Minute, try: outage("500")},
		{id: "E13-hang", fault: "Alertmanager hangs", criterion: "as E12; evaluation never older than 2 intervals", trials: 5, short: 1, limit: 15 * time.Minute, try: outage("hang")},
		{id: "E13-close", fault: "Alertmanager closes connections", criterion: "as E12", trials: 5, limit: 15 * time.Minute, try: outage("close")},
		{id: "E13-503", fault: "Alertmanager answers 503", criterion: "as E12", trials: 5, limit: 15 * time.Minute, try: outage("503")},
		{id: "E13-404", fault: "Alertmanager answers 404", criterion: "as E12", trials: 5, limit: 15 * time.Minute, try: outage("404")},
		{id: "E14", fault: "kill -9 in the middle of an Alertmanager outage", criterion: "no firing alert lost, its start true", trials: 10, short: 1, try: killedInOutage},
		{id: "E15", fault: "one Alertmanager of three hangs", criterion: "the others have every alert in 5 s", trials: 10, short: 1, try: oneOfThree},
		{id: "E17", fault: "one alert of 256 is refused with 400", criterion: "255 arrive, no endless retry, the error names it", trials: 10, short: 1, try: oneRefused},
		{id: "E19", fault: "kill -9 while firing, real Alertmanager", criterion: "no notification more, no false resolve", trials: 20, short: 1, try: killedBesideAlertmanager},
		{id: "E21", fault: "SIGTERM with alerts queued for a dead Alertmanager", criterion: "exit in 15 s, the count is logged", trials: 10, short: 1, try: terminatedQueued},
		{id: "E22", fault: "Alertmanager killed, its data wiped, started again", criterion: "active alerts back in 70 s", trials: 10, short: 1, try: wiped},
	}
}

// outage takes the Alertmanager away in one way. Alert a ends in it, alert b begins.
func outage(mode string) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		m, s, r, err := t.burning(ctx)
		if err != nil {
			return err
		}
		r.set(mode)
		began := time.Now()
		s.set("a", false)
		s.set("b", true)
		if err := m.evaluates(ctx, t.length(10*time.Minute, 8*time.Second)); err != nil {
			return err
		}
		t.hit = true
		r.set("ok")
		took, err := until(ctx, 30*time.Second, "a resolved and b firing", func() (bool, string) {
			return r.ended("a") && r.firing("b"), m.log.tail()
		})
		t.note("told s", took.Seconds())
		if err != nil {
			return err
		}
		if b := r.of("b")[0]; b.startsAt.Before(began.Add(-2*time.Second)) || b.startsAt.After(began.Add(5*time.Second)) {
			return fmt.Errorf("b began at %s, and says %s", began, b.startsAt)
		}
		return m.dropped(ctx)
	}
}

// evaluates watches for a time that the rules' newest evaluation is never older than two intervals.
func (m *watchman) evaluates(ctx context.Context, length time.Duration) error {
	for end := time.Now().Add(length); time.Now().Before(end); {
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
		age, err := m.evaluationAge(ctx)
		if err != nil {
			return err
		}
		m.t.note("evaluation age s", age.Seconds())
		if err := tooOld(age); err != nil {
			return err
		}
	}
	return nil
}

// tooOld judges the age of the newest evaluation. An answer's own way takes its time, too.
func tooOld(age time.Duration) error {
	if age > 30*time.Second {
		return fmt.Errorf("rules are not evaluated any more: the newest evaluation is %s old", age)
	}
	return inTime("age of the newest evaluation", age, 2*time.Second+500*time.Millisecond)
}

func (m *watchman) evaluationAge(ctx context.Context) (time.Duration, error) {
	asked := time.Now()
	status, body := m.get(ctx, "/api/v1/rules")
	var answer struct {
		Data struct {
			Groups []struct {
				Name           string
				LastEvaluation time.Time
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return 0, fmt.Errorf("rules: status %d: %w", status, err)
	}
	for _, g := range answer.Data.Groups {
		if g.Name == "broken" {
			return asked.Sub(g.LastEvaluation), nil
		}
	}
	return 0, errors.New("the group is not in /api/v1/rules")
}

// dropped checks that nothing was given up.
func (m *watchman) dropped(ctx context.Context) error {
	_, metrics := m.get(ctx, "/metrics")
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "slowburn_alerts_dropped_total{") && !strings.HasSuffix(line, " 0\n") {
			return fmt.Errorf("alerts were dropped: %s", line)
		}
	}
	return nil
}

func killedInOutage(ctx context.Context, t *trial) error {
	m, s, r, err := t.burning(ctx)
	if err != nil {
		return err
	}
	r.set("500")
	s.set("b", true)
	began := time.Now()
	if err := wait(ctx, t.between(3*time.Second, t.length(60*time.Second, 6*time.Second))); err != nil {
		return err
	}
	m.kill()
	t.hit = true
	if err := m.startReady(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := wait(ctx, t.between(time.Second, 3*time.Second)); err != nil {
		return err
	}
	r.set("ok")
	took, err := until(ctx, 30*time.Second, "a and b firing", func() (bool, string) { return r.firing("a") && r.firing("b"), m.log.tail() })
	t.note("told s", took.Seconds())
	if err != nil {
		return err
	}
	if b := r.of("b")[0]; b.startsAt.After(began.Add(4 * time.Second)) {
		return fmt.Errorf("b began at %s, and says %s", began, b.startsAt)
	}
	return errors.Join(r.steady("a"), r.steady("b"))
}

func oneOfThree(ctx context.Context, t *trial) error {
	s, all := t.serve(), []*receiver{t.receive(), t.receive(), t.receive()}
	all[1].set("hang")
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: brokenRules, alertmanagers: []string{all[0].URL, all[1].URL, all[2].URL}})
	if err == nil {
		err = m.ready(ctx, 10*time.Second)
	}
	if err != nil {
		return err
	}
	for i, name := range []string{"a", "b", "c"} {
		s.set(name, true)
		took, err := until(ctx, 8*time.Second, "alert at the two that answer", func() (bool, string) {
			return all[0].firing(name) && all[2].firing(name), m.log.tail()
		})
		if err != nil {
			return err
		}
		if i > 0 { // the first waits for the first scrape
			t.note("told s", took.Seconds())
			if err := inTime("alert "+name, took, 5*time.Second); err != nil {
				return err
			}
		}
	}
	t.hit = all[1].posted() > 0
	return nil
}

func oneRefused(ctx context.Context, t *trial) error {
	s, r := t.serve(), t.receive()
	for i := range 255 {
		s.set(fmt.Sprint("n", i), true)
	}
	s.set("poisoned", true)
	rules := brokenRules + "  - alert: Poisoned\n    expr: broken{name=\"poisoned\"} > 0\n    labels: {poison: yes}\n"
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: rules, alertmanagers: []string{r.URL}})
	if err == nil {
		err = m.ready(ctx, 10*time.Second)
	}
	if err != nil {
		return err
	}
	if _, err := until(ctx, 20*time.Second, "256 alerts", func() (bool, string) { return r.distinct() == 256, fmt.Sprint(r.distinct()) }); err != nil {
		return err
	}
	t.hit = true
	settled := r.posted()
	if err := wait(ctx, 12*time.Second); err != nil {
		return err
	}
	posts := r.posted() - settled
	t.note("posts in 12 s", float64(posts))
	if posts > 40 { // resends each 5 s, in a few batches, one of which is searched for the culprit
		return fmt.Errorf("%d POSTs in 12 s: the refused alert is tried for ever", posts)
	}
	if !strings.Contains(m.log.String(), "poison") {
		return errors.New("the log does not name the refused alert")
	}
	return nil
}

// alertmanager is the real one, with a webhook that counts what people would be told.
type alertmanager struct {
	t        *trial
	url      string
	cmd      *exec.Cmd
	done     chan struct{}
	args     []string
	mu       sync.Mutex
	notified []string // status of each notification
}

func (t *trial) alertmanager(ctx context.Context) (*alertmanager, error) {
	program, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		if program, err = exec.LookPath("alertmanager"); err != nil {
			return nil, skip("needs Alertmanager: install the Debian package prometheus-alertmanager")
		}
	}
	a := &alertmanager{t: t}
	hook := httptest.NewServer(http.HandlerFunc(a.notify))
	t.defers(hook.Close)
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	config, err := t.write("alertmanager.yml", fmt.Sprintf("route: {receiver: hook, group_by: [alertname, name], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}\nreceivers: [{name: hook, webhook_configs: [{url: '%s', send_resolved: true}]}]\n", hook.URL))
	if err != nil {
		return nil, err
	}
	a.url = "http://127.0.0.1:" + port
	a.args = []string{program, "--config.file", config, "--storage.path", filepath.Join(t.dir, "am"), "--web.listen-address", "127.0.0.1:" + port, "--cluster.listen-address", ""}
	t.defers(a.kill)
	return a, a.start(ctx)
}

func (a *alertmanager) start(ctx context.Context) error {
	a.cmd = exec.CommandContext(context.WithoutCancel(ctx), a.args[0], a.args[1:]...) //nolint:gosec // looked up above
	if err := a.cmd.Start(); err != nil {
		return err
	}
	cmd, done := a.cmd, make(chan struct{})
	a.done = done
	go func() { // ends with the process, which the trial's end kills
		_ = cmd.Wait() // it is killed, most often
		close(done)
	}()
	_, err := until(ctx, 20*time.Second, "Alertmanager ready", func() (bool, string) {
		status, body := fetch(ctx, a.url+"/-/ready", time.Second)
		return status == http.StatusOK, body
	})
	return err
}

func (a *alertmanager) kill() {
	if a.cmd == nil || a.cmd.Process == nil {
		return
	}
	_ = a.cmd.Process.Kill() // an ended process can't be killed
	<-a.done
}

func (a *alertmanager) notify(w http.ResponseWriter, req *http.Request) {
	var n struct {
		Alerts []struct {
			Status string
			Labels map[string]string
		}
	}
	if err := json.NewDecoder(req.Body).Decode(&n); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, alert := range n.Alerts {
		a.notified = append(a.notified, alert.Labels["name"]+" "+alert.Status)
	}
}

// heard lists the notifications that people got.
func (a *alertmanager) heard() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string{}, a.notified...)
}

// holds reports whether the Alertmanager holds the alert as active.
func (a *alertmanager) holds(ctx context.Context, name string) (bool, string) {
	status, body := fetch(ctx, a.url+"/api/v2/alerts?active=true", 2*time.Second)
	return status == http.StatusOK && strings.Contains(body, fmt.Sprintf("\"name\":%q", name)), body
}

// burningBeside starts a watchman beside the real Alertmanager and waits until people were told of alert a.
func (t *trial) burningBeside(ctx context.Context) (*watchman, *alertmanager, error) {
	a, err := t.alertmanager(ctx)
	if err != nil {
		return nil, nil, err
	}
	s := t.serve()
	s.set("a", true)
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: brokenRules, alertmanagers: []string{a.url}})
	if err == nil {
		err = m.ready(ctx, 10*time.Second)
	}
	if err == nil {
		_, err = until(ctx, 20*time.Second, "people told of a", func() (bool, string) { return len(a.heard()) > 0, m.log.tail() })
	}
	return m, a, err
}

func killedBesideAlertmanager(ctx context.Context, t *trial) error {
	m, a, err := t.burningBeside(ctx)
	if err != nil {
		return err
	}
	m.kill()
	t.hit = true
	// Alerts end by themselves at endsAt, four resend delays ahead: 20 s here. Longer outages are told as they are.
	if err := wait(ctx, t.between(3*time.Second, t.length(15*time.Second, 6*time.Second))); err != nil {
		return err
	}
	if err := m.startReady(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := wait(ctx, t.length(30*time.Second, 10*time.Second)); err != nil {
		return err
	}
	if heard := a.heard(); len(heard) != 1 {
		return fmt.Errorf("one notification was due, people got %v", heard)
	}
	ok, seen := a.holds(ctx, "a")
	if !ok {
		return fmt.Errorf("the alert is gone: %s", seen)
	}
	return nil
}

func terminatedQueued(ctx context.Context, t *trial) error {
	s, r := t.serve(), t.receive()
	r.set("hang")
	for i := range 500 {
		s.set(fmt.Sprint("n", i), true)
	}
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: brokenRules, alertmanagers: []string{r.URL}})
	if err == nil {
		err = m.ready(ctx, 10*time.Second)
	}
	if err != nil {
		return err
	}
	if _, err := until(ctx, 20*time.Second, "500 alerts queued", func() (bool, string) {
		_, metrics := m.get(ctx, "/metrics")
		for line := range strings.Lines(metrics) {
			if strings.HasPrefix(line, "slowburn_alerts_queue_length{") {
				return strings.HasSuffix(line, "} 500\n"), line
			}
		}
		return false, "no queue length"
	}); err != nil {
		return err
	}
	t.hit = true
	code, took, err := m.terminate(15 * time.Second)
	t.note("exit s", took.Seconds())
	switch {
	case err != nil:
		return err
	case code != 0:
		return fmt.Errorf("exit status %d: %s", code, m.log.tail())
	case !strings.Contains(m.log.String(), "undelivered_alerts=500"):
		return fmt.Errorf("the log does not count what was not delivered: %s", m.log.tail())
	}
	return nil
}

func wiped(ctx context.Context, t *trial) error {
	m, a, err := t.burningBeside(ctx)
	if err != nil {
		return err
	}
	a.kill()
	if err := os.RemoveAll(filepath.Join(t.dir, "am")); err != nil {
		return err
	}
	if err := wait(ctx, t.between(time.Second, 3*time.Second)); err != nil {
		return err
	}
	if err := a.start(ctx); err != nil {
		return err
	}
	t.hit = true
	took, err := until(ctx, 70*time.Second, "alert a back", func() (bool, string) {
		ok, _ := a.holds(ctx, "a")
		return ok, m.log.tail()
	})
	t.note("back s", took.Seconds())
	return err
}
