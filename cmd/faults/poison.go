package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A target that misbehaves must cost the watchman no more than this beside its idle memory.
const roomMiB = 300

func targetFaults() []experiment {
	var all []experiment
	for _, p := range []struct{ path, fault string }{
		{"huge", "a target sends 10 GB"},
		{"gzipbomb", "a target sends a gzip bomb"},
		{"oneline", "a target sends a label value of 17 MiB"},
		{"line1g", "a target sends a line of 1 GiB"},
		{"million", "a target sends a million series"},
		{"labels", "a target sends 10,000 labels"},
	} {
		all = append(all, experiment{
			id: "E25-" + p.path, fault: p.fault, criterion: "alive, at most idle + 300 MiB, the good target goes on, the error names the limit",
			trials: 5, short: shortFor(p.path, "oneline", "gzipbomb"), try: poisoned(p.path, true),
		})
	}
	for _, p := range []struct{ path, fault string }{
		{"hang", "a target hangs"}, {"drip", "a target drips a byte at a time"}, {"half", "a target stops midway"}, {"loop", "a target redirects for ever"},
		{"malformed", "a target sends a malformed line"}, {"malformed_om", "a target sends OpenMetrics without its end"},
		{"html", "a target sends HTML"}, {"untyped", "a target sends no content type"}, {"status", "a target answers 500"},
	} {
		all = append(all, experiment{
			id: "E27-" + p.path, fault: p.fault, criterion: "up is 0 with a reason, nothing of it stored, SIGTERM in 5 s",
			trials: 5, short: shortFor(p.path, "hang", "malformed"), try: poisoned(p.path, false),
		})
	}
	for _, p := range []struct{ path, fault string }{
		{"naninf", "a target sends NaN and infinities"}, {"future", "a target sends samples of tomorrow"}, {"past", "a target sends samples of yesterday"},
	} {
		all = append(all, experiment{
			id: "E31-" + p.path, fault: p.fault, criterion: "the rest of the scrape is stored, now and later; answers are valid JSON",
			trials: 10, short: shortFor(p.path, "future"), try: strange(p.path),
		})
	}
	return all
}

// shortFor is 1 for the paths that the short form tries.
func shortFor(path string, short ...string) int {
	if slices.Contains(short, path) {
		return 1
	}
	return 0
}

// watchBeside starts a watchman on the good target and a bad one, and waits until both were scraped.
func (t *trial) watchBeside(ctx context.Context, path string) (*watchman, *target, error) {
	s, r := t.serve(), t.receive()
	m, err := t.watch(ctx, world{targets: []job{s.good(), s.bad(path)}, rules: brokenRules, alertmanagers: []string{r.URL}})
	if err == nil {
		err = m.ready(ctx, 10*time.Second)
	}
	if err == nil {
		_, err = until(ctx, 20*time.Second, "both scraped", func() (bool, string) { return s.scraped(path) > 0 && s.scraped("good") > 0, m.log.tail() })
	}
	return m, s, err
}

// poisoned feeds one poison for half a minute beside a good target.
func poisoned(path string, limited bool) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		idle, err := t.idle(ctx)
		if err != nil {
			return err
		}
		m, s, err := t.watchBeside(ctx, path)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := wait(ctx, t.length(30*time.Second, 8*time.Second)); err != nil {
			return err
		}
		end := time.Now()
		if !m.alive() {
			return fmt.Errorf("the process died: %s", m.log.tail())
		}
		t.hit = s.scraped(path) > 0
		peak := m.peak()
		t.note("above idle MiB", peak-idle)
		if peak-idle > roomMiB {
			return fmt.Errorf("%.0f MiB resident at its peak, %.0f idle", peak, idle)
		}
		if err := m.fresh(ctx, s, 3*time.Second); err != nil {
			return err
		}
		if err := m.lost(ctx, s, began, end.Add(-time.Second)); err != nil {
			return err
		}
		if err := m.refuses(ctx, path, limited); err != nil {
			return err
		}
		code, took, err := m.terminate(5 * time.Second)
		t.note("exit s", took.Seconds())
		if err == nil && code != 0 {
			err = fmt.Errorf("exit status %d", code)
		}
		return err
	}
}

// idle is the peak of memory of a watchman that watches only the good target.
func (t *trial) idle(ctx context.Context) (float64, error) {
	own := &trial{settings: t.settings, dir: t.dir + "/idle", rng: t.rng, figures: figures{}}
	defer own.end()
	m, s, _, err := own.burning(ctx)
	if err != nil {
		return 0, err
	}
	if err := m.fresh(ctx, s, 5*time.Second); err != nil {
		return 0, err
	}
	peak := m.peak()
	return peak, nil
}

// refuses checks that the bad target is down for a reason, and that nothing of it is stored.
func (m *watchman) refuses(ctx context.Context, path string, limited bool) error {
	if up, ok := m.number(ctx, `up{job="bad"}`); !ok || up != 0 {
		return fmt.Errorf("up of the bad target is %v (known: %v)", up, ok)
	}
	result, err := m.query(ctx, `count({job="bad",__name__!~"up|scrape_.*"})`)
	if err != nil {
		return err
	}
	if len(result) > 0 {
		return fmt.Errorf("series of a refused scrape were stored: %v", result[0].Value[1])
	}
	_, targets := m.get(ctx, "/api/v1/targets?state=active")
	_, after, found := strings.Cut(targets, "/"+path+`"`)
	if !found {
		return fmt.Errorf("the bad target is not in /api/v1/targets")
	}
	_, reason, _ := strings.Cut(after, `"lastError":"`)
	reason, _, _ = strings.Cut(reason, `","`)
	if reason == "" {
		return fmt.Errorf("the bad target has no reason: %.400s", after)
	}
	if limited && !strings.Contains(reason, "limit") && !strings.Contains(reason, "deadline") && !strings.Contains(reason, "too long") {
		return fmt.Errorf("the reason names no limit: %s", reason)
	}
	return nil
}

// strange feeds samples that are odd and not malformed.
func strange(path string) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		m, s, err := t.watchBeside(ctx, path)
		if err != nil {
			return err
		}
		if err := wait(ctx, t.length(10*time.Second, 4*time.Second)); err != nil {
			return err
		}
		t.hit = true
		if v, ok := m.number(ctx, `kept{job="bad"}`); !ok || v != 1 {
			return fmt.Errorf("the rest of the scrape is not stored: %v", v)
		}
		if _, err := m.query(ctx, `{job="bad"}`); err != nil {
			return err
		}
		return m.fresh(ctx, s, 3*time.Second)
	}
}
