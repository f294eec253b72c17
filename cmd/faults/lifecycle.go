package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func lifecycleFaults() []experiment {
	return []experiment{
		{id: "E34", fault: "a million nested parentheses in TypeScript, and a 50 MB line", criterion: "findings with their places in 5 s and 256 MiB; the other files are read", trials: 5, short: 1, try: nested},
		{id: "E39-start", fault: "a bad rule file at the start", criterion: "exit status not 0, the place of every error", trials: 10, short: 1, try: badStart},
		{id: "E39-reload", fault: "a bad rule file on reload", criterion: "the old rules stay, the metric and the log say so", trials: 10, short: 1, try: badReload},
		{id: "E54", fault: "SIGTERM at a random moment", criterion: "exit status 0 in 5 s, no panic", trials: 40, short: 2, try: terminated},
		{id: "E57", fault: "an unknown user, no home, no capabilities", criterion: "runs, and writes in its data directory alone", trials: 3, short: 1, try: stripped},
	}
}

func nested(ctx context.Context, t *trial) error {
	files := map[string]string{
		"deep.ts": "/** @SLO availability target=99% */\nexport const x = " + strings.Repeat("(", 1_000_000) + "1" + strings.Repeat(")", 1_000_000) + "\n",
		"long.ts": "/** @SLO availability target=99% */ export const y = '" + strings.Repeat("y", 50<<20) + "'\n",
		"good.ts": "/** @SLO availability target=99.5% service=api errors=http_requests_total{code=~\"5..\"} total=http_requests_total */\nexport class Api {}\n",
	}
	for name, text := range files {
		if _, err := t.write(filepath.Join("nested", name), text); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.slowburn, "scan", filepath.Join(t.dir, "nested")) //nolint:gosec // the program that was named to be tried
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil && cmd.ProcessState.ExitCode() != 1 { // 1 says that there are findings
		return fmt.Errorf("scan: %w: %.300s", err, out)
	}
	t.hit = true
	peak := float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024
	t.note("scan s", took.Seconds())
	t.note("peak MiB", peak)
	var faults []error
	for _, want := range []string{"deep.ts", "long.ts", "99.5"} {
		if !strings.Contains(string(out), want) {
			faults = append(faults, fmt.Errorf("the output does not name %s: %.500s", want, out))
		}
	}
	if peak > 256 {
		faults = append(faults, fmt.Errorf("%.0f MiB resident at the peak", peak))
	}
	faults = append(faults, inTime("scan", took, 5*time.Second))
	return errors.Join(faults...)
}

const badRules = `groups:
- name: bad
  rules:
  - alert: One
    expr: sum(
  - alert: Two
    expr: rate(up)
`

func badStart(ctx context.Context, t *trial) error {
	s := t.serve()
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: badRules})
	if err != nil {
		return err
	}
	if _, err := until(ctx, 10*time.Second, "the end", func() (bool, string) { return !m.alive(), m.log.tail() }); err != nil {
		return err
	}
	t.hit = true
	log := m.log.String()
	if code := m.cmd.ProcessState.ExitCode(); code == 0 {
		return fmt.Errorf("exit status 0: %s", log)
	}
	return namesBoth(log)
}

// namesBoth checks that a text gives file and line of both errors in badRules.
func namesBoth(text string) error {
	for _, place := range []string{"extra.rules.yml:5", "extra.rules.yml:7"} {
		if !strings.Contains(text, place) && !strings.Contains(text, strings.Replace(place, ":", ": ", 1)) {
			return fmt.Errorf("%s is not named: %s", place, text)
		}
	}
	return nil
}

func badReload(ctx context.Context, t *trial) error {
	m, s, r, err := t.burning(ctx)
	if err != nil {
		return err
	}
	rules := filepath.Join(t.dir, "extra.rules.yml")
	if err := os.WriteFile(rules, []byte(badRules), 0o600); err != nil {
		return err
	}
	if err := m.signal(syscall.SIGHUP); err != nil {
		return err
	}
	took, err := until(ctx, 5*time.Second, "the refusal", func() (bool, string) {
		_, metrics := m.get(ctx, "/metrics")
		return strings.Contains(metrics, "reload_successful 0"), m.log.tail()
	})
	if err != nil {
		return err
	}
	t.note("refusal s", took.Seconds())
	t.hit = true
	if err := namesBoth(m.log.String()); err != nil {
		return err
	}
	if err := m.evaluates(ctx, 3*time.Second); err != nil {
		return err
	}
	if err := os.WriteFile(rules, []byte(brokenRules), 0o600); err != nil {
		return err
	}
	if err := m.signal(syscall.SIGHUP); err != nil {
		return err
	}
	if _, err := until(ctx, 5*time.Second, "the good reload", func() (bool, string) {
		_, metrics := m.get(ctx, "/metrics")
		return strings.Contains(metrics, "reload_successful 1"), m.log.tail()
	}); err != nil {
		return err
	}
	return errors.Join(m.fresh(ctx, s, 3*time.Second), r.steady("a"))
}

func terminated(ctx context.Context, t *trial) error {
	s, r := t.serve(), t.receive()
	s.set("a", true)
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: brokenRules, alertmanagers: []string{r.URL}})
	if err != nil {
		return err
	}
	// A process that has not installed its handlers yet dies of the signal as any process does.
	if err := m.ready(ctx, 10*time.Second); err != nil {
		return err
	}
	if err := wait(ctx, t.between(0, t.length(10*time.Second, 2*time.Second))); err != nil {
		return err
	}
	t.hit = true
	if t.rng.IntN(2) == 0 { // in the middle of a reload
		if err := m.signal(syscall.SIGHUP); err != nil {
			return err
		}
	}
	code, took, err := m.terminate(5 * time.Second)
	t.note("exit s", took.Seconds())
	switch {
	case err != nil:
		return err
	case code != 0:
		return fmt.Errorf("exit status %d: %s", code, m.log.tail())
	case strings.Contains(m.log.String(), "panic"):
		return fmt.Errorf("panic: %s", m.log.tail())
	}
	return nil
}

// stripped runs the program as nobody in particular. It needs root, to become somebody else.
func stripped(ctx context.Context, t *trial) error {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || os.Geteuid() != 0 {
		return skip("becoming another user needs root and setpriv")
	}
	s, r := t.serve(), t.receive()
	s.set("a", true)
	m, err := t.watch(ctx, world{targets: []job{s.good()}, rules: brokenRules, alertmanagers: []string{r.URL}})
	if err != nil {
		return err
	}
	m.kill()
	if err := t.handOver(m.dataDir); err != nil {
		return skip(err.Error())
	}
	args := append([]string{"--reuid", "65532", "--regid", "65532", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--reset-env", filepath.Join(t.dir, "slowburn")}, m.args...)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), setpriv, args...) //nolint:gosec // looked up above
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.Stdout, cmd.Stderr = m.log, m.log
	if err := cmd.Start(); err != nil {
		return err
	}
	m.cmd, m.done = cmd, make(chan struct{})
	done := m.done
	go func() { // ends with the process, which the trial's end kills
		_ = cmd.Wait() // the exit status is in ProcessState
		close(done)
	}()
	if err := m.ready(ctx, 10*time.Second); err != nil {
		return err
	}
	t.hit = true
	if err := m.fresh(ctx, s, 5*time.Second); err != nil {
		return err
	}
	if status, _ := m.get(ctx, "/"); status != http.StatusOK {
		return fmt.Errorf("the status page answers %d", status)
	}
	code, _, err := m.terminate(5 * time.Second)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d: %s", code, m.log.tail())
	}
	return err
}

// handOver gives an unknown user a copy of the program, the files to read, and a data directory that it owns.
func (t *trial) handOver(dataDir string) error {
	program, err := os.ReadFile(t.slowburn)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(t.dir, "slowburn"), program, 0o755); err != nil { //nolint:gosec // to be run by another user
		return err
	}
	if err := os.RemoveAll(dataDir); err != nil {
		return err
	}
	if err := os.Mkdir(dataDir, 0o700); err != nil {
		return err
	}
	if err := os.Chown(dataDir, 65532, 65532); err != nil {
		return err
	}
	return filepath.WalkDir(t.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dataDir {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755) //nolint:gosec // to be read by another user
		}
		if filepath.Base(path) != "slowburn" {
			return os.Chmod(path, 0o644) //nolint:gosec // to be read by another user
		}
		return nil
	})
}
