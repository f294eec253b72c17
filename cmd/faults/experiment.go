package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// experiment is one fault and what must hold through it. try makes one trial.
type experiment struct {
	id, fault, criterion string
	trials, short        int  // short 0: not in the short form
	alone                bool // nothing else runs beside it
	limit                time.Duration
	try                  func(context.Context, *trial) error
}

const soakID = "soak"

// experiments is the table. Its ids are those that the project's list of faults gives them.
func experiments() []experiment {
	return slices.Concat(storageFaults(), clockFaults(), deliveryFaults(), targetFaults(), queryFaults(), pageFaults(), lifecycleFaults(), []experiment{{
		id: soakID, fault: "Alertmanager and slowburn killed at random under the shop's load", trials: 1, short: 1, alone: true,
		criterion: "each outage is paged and resolved; nothing missing, nothing false, nothing for ever", try: soak,
	}})
}

// trial is one run of one experiment in a directory of its own.
type trial struct {
	settings
	dir     string
	rng     *rand.Rand
	hit     bool // the fault was seen to have happened
	figures figures
	ends    []func()
}

// defers runs f when the trial ends, the last one first.
func (t *trial) defers(f func()) { t.ends = append(t.ends, f) }

func (t *trial) end() {
	for _, f := range slices.Backward(t.ends) {
		f()
	}
}

// between is a random duration.
func (t *trial) between(least, most time.Duration) time.Duration {
	return least + time.Duration(t.rng.Int64N(int64(most-least)+1))
}

// length is how long a fault lasts: the table's, or seconds in the short form.
func (t *trial) length(full, short time.Duration) time.Duration {
	if t.short {
		return short
	}
	return full
}

// write puts a file into the trial's directory and gives its path.
func (t *trial) write(name, text string) (string, error) {
	path := filepath.Join(t.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// skip is the error of an experiment that this machine can't make.
type skip string

func (s skip) Error() string { return string(s) }

// figures are what a trial measured; the unit is part of the name.
type figures map[string]float64

// note keeps the largest value of a figure.
func (t *trial) note(name string, value float64) { t.figures[name] = max(t.figures[name], value) }

func (f figures) worst(other figures) figures {
	all := maps.Clone(f)
	if all == nil {
		all = figures{}
	}
	for name, v := range other {
		all[name] = max(all[name], v)
	}
	return all
}

func (f figures) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		parts = append(parts, fmt.Sprintf("%s %.4g", name, f[name]))
	}
	return strings.Join(parts, ", ")
}

// wait returns after d, or with ctx's error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// late is the error of what came right, only not in its time. On a machine that does other work too it may not be the
// program's fault.
type late struct {
	what         string
	took, within time.Duration
}

func (l late) Error() string {
	return fmt.Sprintf("%s: took %s, %s was allowed", l.what, l.took.Round(time.Millisecond), l.within)
}

// inTime is an error where something took longer than allowed.
func inTime(what string, took, within time.Duration) error {
	if took > within {
		return late{what, took, within}
	}
	return nil
}

// onlyLate reports whether nothing but time speaks against a trial.
func onlyLate(err error) bool {
	switch err := err.(type) { //nolint:errorlint // this is the walk that errors.As would make; each of the joined has to be late
	case late:
		return true
	case interface{ Unwrap() error }:
		return onlyLate(err.Unwrap())
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(err.Unwrap(), func(err error) bool { return !onlyLate(err) })
	}
	return false
}

// patience is how long until goes on asking after the time allowed, to tell what is late from what never comes.
const patience = 10 * time.Second

// until asks every 50 ms until ok, and gives the time it took: an error that is late where that is more than within.
// Of what did not come at all, what was last seen is in the error.
func until(ctx context.Context, within time.Duration, what string, ok func() (bool, string)) (time.Duration, error) {
	began := time.Now()
	for {
		done, seen := ok()
		took := time.Since(began)
		if done {
			return took, inTime(what, took, within)
		}
		if took > within+patience {
			return took, fmt.Errorf("%s: not within %s; last seen: %s", what, took.Round(time.Second), seen)
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return took, fmt.Errorf("%s: %w; last seen: %s", what, err, seen)
		}
	}
}
