// Command bench measures a replay of the standard history beside the floor: decoding every sample once, through the
// same storage, on as many cores. Its last line is JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"github.com/slowburn/slowburn/evaluator/standard"
	"github.com/slowburn/slowburn/tsdb"
)

type settings struct {
	tenants, days, runs int
	dir, step           string
	slowburn            string
	peers               string
}

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func start() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var s settings
	flag.IntVar(&s.tenants, "tenants", 10, "tenants of the standard history")
	flag.IntVar(&s.days, "days", 30, "days of the standard history")
	flag.IntVar(&s.runs, "runs", 5, "runs, of which the median counts")
	flag.StringVar(&s.dir, "dir", "", "where the history is kept for later runs; by default it is removed")
	flag.StringVar(&s.slowburn, "slowburn", "", "the slowburn whose cold start, to the printed verdict, is measured too")
	flag.StringVar(&s.peers, "peers", "", "who replays beside, where installed: promtool, vmalert or promtool,vmalert")
	flag.StringVar(&s.step, "step", "", "generate, measure or replay: what a process of its own does")
	flag.Parse()
	return run(ctx, s, os.Stdout, os.Stderr)
}

func (s settings) workload() string { return fmt.Sprintf("standard-t%d-d%d", s.tenants, s.days) }

func (s settings) end() time.Time {
	return standard.Start().Add(time.Duration(s.days) * 24 * time.Hour)
}

// run generates the history and measures in processes of their own, so that the peak of memory is the replay's.
func run(ctx context.Context, s settings, out, log io.Writer) (err error) {
	switch s.step {
	case "generate":
		h := standard.New(s.tenants, s.days)
		return tsdb.Import(ctx, h, standard.Start().UnixMilli(), h.End().UnixMilli(), s.dir, nil)
	case "measure":
		return measure(ctx, s, out, log)
	case "replay":
		return replayAlone(ctx, s)
	}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "slowburn-bench-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		s.dir = dir
	}
	s.dir = filepath.Join(s.dir, fmt.Sprintf("t%d-d%d", s.tenants, s.days))
	if _, err := os.Stat(s.dir); err != nil {
		fmt.Fprintf(log, "generating the history of %d tenants over %d days\n", s.tenants, s.days)
		if err := s.child(ctx, "generate", out, log).Run(); err != nil {
			return fmt.Errorf("generate: %w", err)
		}
	}
	return s.report(ctx, out, log)
}

// report measures, and adds what processes of their own take.
func (s settings) report(ctx context.Context, out, log io.Writer) error {
	var line bytes.Buffer
	if err := s.child(ctx, "measure", &line, log).Run(); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	var f figures
	if err := json.Unmarshal(line.Bytes(), &f); err != nil {
		return err
	}
	if s.slowburn != "" {
		if err := s.coldStart(ctx, &f, log); err != nil {
			return fmt.Errorf("cold start: %w", err)
		}
	}
	if s.peers != "" {
		if err := s.sideBySide(ctx, &f, log); err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(f)
}

// child is one step in a process of its own.
func (s settings) child(ctx context.Context, step string, out, log io.Writer) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	args := []string{"-step", step, "-dir", s.dir, "-tenants", strconv.Itoa(s.tenants), "-days", strconv.Itoa(s.days), "-runs", strconv.Itoa(s.runs)}
	c := exec.CommandContext(ctx, self, args...) //nolint:gosec // the program itself, with what it was given
	c.Stdout, c.Stderr = out, log
	return c
}
