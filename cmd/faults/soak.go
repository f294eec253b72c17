package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// soak breaks and mends services at random for a while, with alerts that must follow, and kills slowburn and the
// Alertmanager at random meanwhile. At the end what should have been told is compared with what people were told.
func soak(ctx context.Context, t *trial) error {
	a, err := t.alertmanager(ctx)
	if err != nil {
		return err
	}
	s := t.serve()
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: brokenRules, alertmanagers: []string{a.url}})
	if err == nil {
		err = m.ready(ctx, 10*time.Second)
	}
	if err != nil {
		return err
	}
	k := &killer{t: t, m: m, a: a}
	kills, stop := context.WithCancel(ctx)
	defer stop()
	var chaos sync.WaitGroup
	seed := t.rng.Int64()
	chaos.Go(func() { k.run(kills, seed) }) // ends when the outages are over
	told, err := outages(ctx, t, s, m, a, time.Now().Add(t.soak))
	stop()
	chaos.Wait()
	t.hit = k.killedSlowburn > 0 && k.killedAlertmanager > 0
	t.note("outages", float64(told))
	t.note("kills of slowburn", float64(k.killedSlowburn))
	t.note("kills of Alertmanager", float64(k.killedAlertmanager))
	return errors.Join(err, k.err, settle(ctx, t, s, m, a, told))
}

// outages breaks one thing after another, and waits each time until people are told, and until the Alertmanager no longer
// holds it. That it once held an alert says nothing: killed before it tells, it has forgotten.
func outages(ctx context.Context, t *trial, s *target, m *watchman, a *alertmanager, end time.Time) (int, error) {
	n := 0
	for ; time.Now().Before(end); n++ {
		name := fmt.Sprint("soak", n)
		s.set(name, true)
		took, err := until(ctx, 90*time.Second, "outage "+name+" told", func() (bool, string) { return slices.Contains(a.heard(), name+" firing"), m.log.tail() })
		t.note("told s", took.Seconds())
		if err != nil {
			return n, err
		}
		if err := wait(ctx, t.between(time.Second, 5*time.Second)); err != nil {
			return n, err
		}
		s.set(name, false)
		took, err = until(ctx, 90*time.Second, "end of "+name+" told", func() (bool, string) {
			held, seen := a.holds(ctx, name)
			status, _ := fetch(ctx, a.url+"/-/ready", time.Second)
			return !held && status == 200, seen
		})
		t.note("ended s", took.Seconds())
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// settle checks that at the end nothing is told that does not burn, and that every outage was told to people.
func settle(ctx context.Context, t *trial, s *target, m *watchman, a *alertmanager, told int) error {
	if !m.alive() {
		return fmt.Errorf("slowburn is down: %s", m.log.tail())
	}
	if err := m.fresh(ctx, s, 15*time.Second); err != nil {
		return err
	}
	if err := wait(ctx, 3*time.Second); err != nil { // the Alertmanager's group wait and interval
		return err
	}
	firing := map[string]int{}
	for _, h := range a.heard() {
		firing[h]++
	}
	var faults []error
	for n := range told {
		if firing[fmt.Sprintf("soak%d firing", n)] == 0 {
			faults = append(faults, fmt.Errorf("nobody was told of outage soak%d", n))
		}
	}
	for h, times := range firing {
		t.note("times told", float64(times))
		if times > 20 {
			faults = append(faults, fmt.Errorf("people were told %d times: %s", times, h))
		}
	}
	return errors.Join(faults...)
}

// killer ends slowburn and the Alertmanager at random moments and starts them again.
type killer struct {
	t                                  *trial
	m                                  *watchman
	a                                  *alertmanager
	killedSlowburn, killedAlertmanager int
	err                                error
}

func (k *killer) run(ctx context.Context, seed int64) {
	for i := 0; ; i++ {
		pausing := 3*time.Second + time.Duration((seed>>(i%48))&0xfff)*2*time.Millisecond
		if wait(ctx, pausing) != nil {
			return
		}
		if k.err = k.once(ctx, i%2 == 0); k.err != nil {
			return
		}
	}
}

// once kills one of both and starts it again, even where the soak ends meanwhile.
func (k *killer) once(ctx context.Context, slowburn bool) error {
	whole := context.WithoutCancel(ctx)
	if slowburn {
		k.killedSlowburn++
		k.m.kill()
		_ = wait(ctx, 2*time.Second) // started again all the same
		return k.m.startReady(whole, 2*time.Second)
	}
	k.killedAlertmanager++
	k.a.kill()
	_ = wait(ctx, 2*time.Second) // started again all the same
	return k.a.start(whole)
}
