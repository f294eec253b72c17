package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// brokenRules fires an alert for each thing that the target calls broken.
const brokenRules = `groups:
- name: broken
  rules:
  - record: beat:last
    expr: beat
  - alert: Broken
    expr: broken > 0
`

func storageFaults() []experiment {
	return []experiment{
		{id: "E01", fault: "kill -9 at a random moment", criterion: "no finished scrape lost, ready in 2 s, first sample in 3 s, alert steady", trials: 60, short: 2, try: killed},
		{id: "E02", fault: "8 bits flipped in the WAL or head chunks after a kill", criterion: "starts, says so in log and metric, keeps the damaged WAL aside, goes on", trials: 20, short: 2, try: flipped},
		{id: "E09", fault: "ten more processes on one directory", criterion: "they exit in 2 s naming it; the first loses nothing", trials: 20, short: 1, try: crowded},
		{id: "E11", fault: "the process is stopped and goes on", criterion: "samples within 2 intervals, nothing false", trials: 5, short: 1, try: suspended, limit: 15 * time.Minute},
		{id: "E07", fault: "the volume fills up and empties", criterion: "red in 5 s, fresh samples in 5 s after; a restart keeps all", trials: 10, short: 1, try: filled},
	}
}

// burning starts a watchman whose one alert fires, and waits until it was delivered.
func (t *trial) burning(ctx context.Context) (*watchman, *target, *receiver, error) {
	s, r := t.serve(), t.receive()
	s.set("a", true)
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: brokenRules, alertmanagers: []string{r.URL}})
	if err == nil {
		err = m.ready(ctx, 10*time.Second)
	}
	if err == nil {
		_, err = until(ctx, 15*time.Second, "alert a delivered", func() (bool, string) { return r.firing("a"), m.log.tail() })
	}
	return m, s, r, err
}

// fresh waits for a sample that was scraped after now.
func (m *watchman) fresh(ctx context.Context, s *target, within time.Duration) error {
	s.mu.Lock()
	last := s.beats
	s.mu.Unlock()
	took, err := until(ctx, within, "a new sample", func() (bool, string) {
		v, ok := m.number(ctx, "beat")
		return ok && int(v) > last, fmt.Sprint("beat ", v, " after ", last)
	})
	m.t.note("first sample s", took.Seconds())
	return err
}

// lost counts the beats of a span that were served and are not stored.
func (m *watchman) lost(ctx context.Context, s *target, from, to time.Time) error {
	stored, err := m.stored(ctx)
	if err != nil {
		return err
	}
	finished := s.finished(from, to)
	var gone []int
	for _, n := range finished {
		if !stored[n] {
			gone = append(gone, n)
		}
	}
	m.t.note("lost samples", float64(len(gone)))
	if len(gone) > 0 {
		return fmt.Errorf("%d of %d finished scrapes lost: %v", len(gone), len(finished), gone)
	}
	if len(finished) == 0 {
		return errors.New("no scrape was finished, so that nothing was tried")
	}
	return nil
}

func killed(ctx context.Context, t *trial) error {
	began := time.Now()
	m, s, r, err := t.burning(ctx)
	if err != nil {
		return err
	}
	if err := wait(ctx, t.between(t.length(2*time.Second, time.Second), t.length(9*time.Second, 3*time.Second))); err != nil {
		return err
	}
	m.kill()
	at := time.Now()
	t.hit = true
	if err := m.startReady(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := m.fresh(ctx, s, 3*time.Second); err != nil {
		return err
	}
	if err := wait(ctx, 6*time.Second); err != nil { // one resend
		return err
	}
	return errors.Join(m.lost(ctx, s, began, at.Add(-1500*time.Millisecond)), r.steady("a"))
}

func flipped(ctx context.Context, t *trial) error {
	m, s, _, err := t.burning(ctx)
	if err != nil {
		return err
	}
	if err := wait(ctx, t.between(3*time.Second, 6*time.Second)); err != nil {
		return err
	}
	m.kill()
	file, err := t.flip(m.dataDir)
	if err != nil {
		return err
	}
	t.hit = true
	if err := m.startReady(ctx, 5*time.Second); err != nil {
		return fmt.Errorf("after damage to %s: %w", file, err)
	}
	if err := m.fresh(ctx, s, 5*time.Second); err != nil {
		return err
	}
	return m.toldOfDamage(ctx, file)
}

// flip turns 8 bits of a random file of the write-ahead log or of the head's chunks, not all of whose bytes matter.
func (t *trial) flip(dataDir string) (string, error) {
	var files []string
	err := filepath.WalkDir(dataDir, func(path string, d fs.DirEntry, err error) error {
		dir := filepath.Base(filepath.Dir(path))
		if err == nil && d.Type().IsRegular() && (dir == "wal" || dir == "chunks_head") {
			if info, err := d.Info(); err == nil && info.Size() > 0 {
				files = append(files, path)
			}
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fmt.Errorf("no segment below %s", dataDir)
	}
	file := files[t.rng.IntN(len(files))]
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	used := len(strings.TrimRight(string(text), "\x00"))
	for range 8 {
		text[t.rng.IntN(max(used, 1))] ^= 1 << t.rng.IntN(8)
	}
	return file, os.WriteFile(file, text, 0o600) //nolint:gosec // below our own directory
}

// toldOfDamage checks the metric, the log and the copy of a damaged write-ahead log.
func (m *watchman) toldOfDamage(ctx context.Context, file string) error {
	if filepath.Base(filepath.Dir(file)) != "wal" {
		return nil // upstream rebuilds head chunks from the log; there is nothing lost to tell of
	}
	_, metrics := m.get(ctx, "/metrics")
	var faults []error
	if !strings.Contains(metrics, "slowburn_tsdb_wal_damaged_total 1") {
		faults = append(faults, errors.New("slowburn_tsdb_wal_damaged_total is not 1"))
	}
	if !strings.Contains(m.log.String(), filepath.Base(file)) {
		faults = append(faults, fmt.Errorf("the log does not name segment %s", filepath.Base(file)))
	}
	entries, err := os.ReadDir(m.dataDir)
	if err != nil {
		return err
	}
	aside := false
	for _, e := range entries {
		aside = aside || e.IsDir() && strings.HasPrefix(e.Name(), "wal") && e.Name() != "wal"
	}
	if !aside {
		faults = append(faults, fmt.Errorf("no copy of the damaged log lies in the data directory: %v", entries))
	}
	return errors.Join(faults...)
}

func crowded(ctx context.Context, t *trial) error {
	began := time.Now()
	m, s, _, err := t.burning(ctx)
	if err != nil {
		return err
	}
	if err := wait(ctx, 3*time.Second); err != nil { // so that there are scrapes to lose
		return err
	}
	answers := make(chan error, 10)
	for range cap(answers) {
		go func() { answers <- m.second(ctx) }() // ends with the process, within ten seconds
	}
	for range cap(answers) {
		err = errors.Join(err, <-answers)
	}
	t.hit = true
	end := time.Now()
	if err != nil {
		return err
	}
	if err := m.fresh(ctx, s, 3*time.Second); err != nil {
		return err
	}
	return m.lost(ctx, s, began, end.Add(-time.Second))
}

// second starts another process on the same directory, which must not run.
func (m *watchman) second(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	args := append([]string{}, m.args...)
	for i, a := range args {
		if a == "--listen" {
			args[i+1] = "127.0.0.1:" + port
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	began := time.Now()
	out, err := exec.CommandContext(ctx, m.t.slowburn, args...).CombinedOutput() //nolint:gosec // the program that was named to be tried
	took := time.Since(began)
	switch {
	case err == nil:
		return errors.New("a second process ran on the same directory and ended well")
	case !strings.Contains(string(out), m.dataDir):
		return fmt.Errorf("a second process did not name the directory: %s", out)
	}
	return inTime("a second process gives up", took, 4*time.Second) // ten at once on few cores; alone it is a tenth of a second
}

func suspended(ctx context.Context, t *trial) error {
	m, s, r, err := t.burning(ctx)
	if err != nil {
		return err
	}
	if err := m.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := wait(ctx, t.length(t.between(time.Minute, 10*time.Minute), 10*time.Second)); err != nil {
		return errors.Join(err, m.signal(syscall.SIGCONT))
	}
	t.hit = true
	if err := m.signal(syscall.SIGCONT); err != nil {
		return err
	}
	if err := m.fresh(ctx, s, 2*time.Second+time.Second); err != nil {
		return err
	}
	if err := wait(ctx, 6*time.Second); err != nil {
		return err
	}
	return r.steady("a")
}

// filled needs a volume of its own, which only root may mount.
func filled(ctx context.Context, t *trial) error {
	volume := filepath.Join(t.dir, "data")
	if err := os.MkdirAll(volume, 0o750); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", volume).CombinedOutput(); err != nil { //nolint:gosec // our own directory
		return skip(fmt.Sprintf("mounting a volume needs root: %s", strings.TrimSpace(string(out))))
	}
	t.defers(func() {
		_ = exec.CommandContext(context.WithoutCancel(ctx), "umount", "-l", volume).Run() //nolint:gosec // our own directory; left mounted it goes with the machine
	})
	m, s, r, err := t.burning(ctx)
	if err != nil {
		return err
	}
	return m.fillAndEmpty(ctx, s, r)
}

func (m *watchman) fillAndEmpty(ctx context.Context, s *target, r *receiver) error {
	ballast := filepath.Join(m.dataDir, "ballast")
	if err := fill(ballast); err != nil {
		return err
	}
	m.t.hit = true
	red, err := until(ctx, 10*time.Second, "red health", func() (bool, string) {
		_, metrics := m.get(ctx, "/metrics")
		return strings.Contains(metrics, "slowburn_tsdb_healthy 0"), m.log.tail()
	})
	if err != nil {
		return err
	}
	m.t.note("red s", red.Seconds())
	if err := wait(ctx, m.t.length(30*time.Second, 3*time.Second)); err != nil {
		return err
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	emptied := time.Now()
	if err := m.fresh(ctx, s, 8*time.Second); err != nil {
		return err
	}
	again := time.Now()
	if err := wait(ctx, m.t.length(40*time.Second, 5*time.Second)); err != nil {
		return err
	}
	m.t.note("back s", again.Sub(emptied).Seconds())
	if m.t.rng.IntN(2) == 0 {
		m.kill()
	} else if _, _, err := m.terminate(15 * time.Second); err != nil {
		return err
	}
	stopped := time.Now()
	if err := m.startReady(ctx, 5*time.Second); err != nil {
		return err
	}
	return errors.Join(m.lost(ctx, s, again, stopped.Add(-1500*time.Millisecond)), r.steady("a"))
}

// fill writes until the volume is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; size /= 2 {
		block := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
	return nil
}
