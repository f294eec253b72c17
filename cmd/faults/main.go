// Command faults does to a real slowburn what production will: it kills it, stops it, feeds it poison, takes its
// Alertmanager away, and prints for each fault whether the watchman stood. It changes no clock and leaves loopback
// alone but for ports that it opened itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
)

// settings is what flags say.
type settings struct {
	slowburn string        // the program under trial
	run      string        // regular expression over the ids
	short    bool          // few trials and outages of seconds
	trials   int           // instead of the table's; 0 keeps it
	parallel int           // experiments at a time
	seed     uint64        // of all that is random
	soak     time.Duration // length of the soak
	keep     bool          // leave the directories of failed trials
	strict   bool          // what this machine can't try counts as failed
	verbose  bool
}

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func start() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var s settings
	flag.StringVar(&s.slowburn, "slowburn", "bin/slowburn", "the program under trial")
	flag.StringVar(&s.run, "run", "^E", "regular expression over the ids; soak is run by -run soak")
	flag.BoolVar(&s.short, "short", false, "few trials, outages of seconds; what is only late is tried once more, alone")
	flag.IntVar(&s.trials, "trials", 0, "trials of each, instead of the table's")
	flag.IntVar(&s.parallel, "parallel", runtime.NumCPU(), "trials at a time")
	flag.Uint64Var(&s.seed, "seed", 0, "seed of all that is random; 0 takes one from the clock")
	flag.DurationVar(&s.soak, "for", 10*time.Minute, "length of the soak")
	flag.BoolVar(&s.keep, "keep", false, "leave the directories of failed trials")
	flag.BoolVar(&s.strict, "strict", os.Getenv("CI") == "true", "what this machine can't try, for want of a program or of root, counts as failed")
	flag.BoolVar(&s.verbose, "v", false, "tell of each trial as it ends")
	flag.Parse()
	return run(ctx, s, os.Stdout, os.Stderr)
}

// row is what came of one experiment.
type row struct {
	experiment
	trials, hits, skipped int
	failures              []string
	figures               figures
	why                   string // of skipping
}

// run makes the trials of all experiments that match, several at a time, and prints a row for each in the order of
// the table. It fails where a trial failed, and where nothing ran.
func run(ctx context.Context, s settings, out, log io.Writer) error {
	want, err := regexp.Compile(s.run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if s.slowburn, err = filepath.Abs(s.slowburn); err != nil {
		return err
	}
	if _, err := os.Stat(s.slowburn); err != nil {
		return fmt.Errorf("the program under trial: %w: run make build", err)
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano())
	}
	rows := chosen(s, want)
	if len(rows) == 0 {
		return fmt.Errorf("no experiment matches %q", s.run)
	}
	fmt.Fprintf(log, "%d experiments, seed %d\n", len(rows), s.seed)
	makeTrials(ctx, s, rows, log)
	failed := printRows(out, rows)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed > 0:
		return fmt.Errorf("%d of %d experiments failed (seed %d)", failed, len(rows), s.seed)
	}
	return nil
}

func chosen(s settings, want *regexp.Regexp) []*row {
	var rows []*row
	for _, e := range experiments() {
		if !want.MatchString(e.id) {
			continue
		}
		n := e.trials
		if s.short {
			n = e.short
		}
		if s.trials > 0 && n > 0 {
			n = s.trials
		}
		if n > 0 {
			rows = append(rows, &row{experiment: e, trials: n})
		}
	}
	return rows
}

func makeTrials(ctx context.Context, s settings, rows []*row, log io.Writer) {
	var mu sync.Mutex
	var group sync.WaitGroup
	room := make(chan struct{}, max(1, s.parallel))
	var alone sync.RWMutex // an experiment that measures load holds it alone
	for i, r := range rows {
		for n := range r.trials {
			group.Go(func() { // ends with its trial, which ctx bounds
				room <- struct{}{}
				defer func() { <-room }()
				try := func(undisturbed bool) (*trial, error) {
					defer share(&alone, undisturbed)()
					return makeTrial(ctx, s, r.experiment, uint64(i)<<32|uint64(n))
				}
				t, err := try(r.alone)
				if s.short && onlyLate(err) {
					fmt.Fprintf(log, "%s trial %d: %v; once more, with nothing beside it\n", r.id, n+1, err)
					t, err = try(true)
				}
				if missing := skip(""); s.strict && errors.As(err, &missing) {
					err = errors.New(missing.Error())
				}
				mu.Lock()
				defer mu.Unlock()
				r.take(t, err)
				if s.verbose || err != nil && !errors.As(err, new(skip)) {
					fmt.Fprintf(log, "%s trial %d: %s\n", r.id, n+1, outcome(err))
				}
			})
		}
	}
	group.Wait()
}

func share(lock *sync.RWMutex, alone bool) (unlock func()) {
	if alone {
		lock.Lock()
		return lock.Unlock
	}
	lock.RLock()
	return lock.RUnlock
}

func makeTrial(ctx context.Context, s settings, e experiment, n uint64) (t *trial, err error) {
	dir, err := os.MkdirTemp("", "slowburn-fault-")
	if err != nil {
		return &trial{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, cmpDuration(e.limit, 5*time.Minute)+s.soakOf(e))
	defer cancel()
	t = &trial{settings: s, dir: dir, rng: rand.New(rand.NewPCG(s.seed, n)), figures: figures{}}
	defer func() {
		t.end()
		if err == nil || !s.keep {
			err = errors.Join(err, os.RemoveAll(dir))
		} else {
			err = fmt.Errorf("%w (see %s)", err, dir)
		}
	}()
	if err := e.try(ctx, t); err != nil {
		return t, err
	}
	if !t.hit {
		return t, errors.New("the fault was not shown to have hit")
	}
	return t, nil
}

func (s settings) soakOf(e experiment) time.Duration {
	if e.id == soakID {
		return s.soak
	}
	return 0
}

func cmpDuration(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func outcome(err error) string {
	if err == nil {
		return "stood"
	}
	return err.Error()
}

// take adds a trial's outcome to the row.
func (r *row) take(t *trial, err error) {
	var s skip
	switch {
	case errors.As(err, &s):
		r.skipped, r.why = r.skipped+1, s.Error()
		return
	case err != nil:
		r.failures = append(r.failures, err.Error())
	}
	if t.hit {
		r.hits++
	}
	r.figures = r.figures.worst(t.figures)
}

// printRows gives the number of experiments that failed.
func printRows(out io.Writer, rows []*row) int {
	failed := 0
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tFAULT\tSTOOD\tHIT\tFIGURES (WORST)\tCRITERION")
	for _, r := range rows {
		stood := fmt.Sprintf("%d/%d", r.trials-r.skipped-len(r.failures), r.trials-r.skipped)
		figures := r.figures.String()
		switch {
		case len(r.failures) > 0:
			failed++
			stood += " FAILED"
		case r.skipped == r.trials:
			stood, figures = "not run", r.why
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", r.id, r.fault, stood, r.hits, figures, r.criterion)
	}
	if err := w.Flush(); err != nil {
		fmt.Fprintln(out, err)
	}
	for _, r := range rows {
		for _, f := range r.failures {
			fmt.Fprintf(out, "%s: %s\n", r.id, strings.ReplaceAll(f, "\n", "\n    "))
		}
	}
	return failed
}
