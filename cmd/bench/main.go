// Command bench measures a replay of the standard history beside the floor: decoding every sample once, through the
// same storage, on as many cores. Its last line is JSON.
package main

import (
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
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/evaluator/standard"
	"github.com/slowburn/slowburn/tsdb"
)

type settings struct {
	tenants, days, runs int
	dir                 string
	step                string
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
	flag.StringVar(&s.step, "step", "", "generate or measure: what a process of its own does")
	flag.Parse()
	return run(ctx, s, os.Stdout, os.Stderr)
}

// run generates the history and measures in processes of their own, so that the peak of memory is the replay's.
func run(ctx context.Context, s settings, out, log io.Writer) (err error) {
	switch s.step {
	case "generate":
		h := standard.New(s.tenants, s.days)
		return tsdb.Import(ctx, h, standard.Start().UnixMilli(), h.End().UnixMilli(), s.dir, nil)
	case "measure":
		return measure(ctx, s, out, log)
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
		if err := s.child(ctx, "generate", out, log); err != nil {
			return fmt.Errorf("generate: %w", err)
		}
	}
	return s.child(ctx, "measure", out, log)
}

// child runs one step in a process of its own.
func (s settings) child(ctx context.Context, step string, out, log io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"-step", step, "-dir", s.dir, "-tenants", strconv.Itoa(s.tenants), "-days", strconv.Itoa(s.days), "-runs", strconv.Itoa(s.runs)}
	c := exec.CommandContext(ctx, self, args...) //nolint:gosec // the program itself, with what it was given
	c.Stdout, c.Stderr = out, log
	return c.Run()
}

// figures are what is reported: medians over the runs.
type figures struct {
	Workload     string  `json:"workload"`
	Samples      int64   `json:"samples"`
	FloorS       float64 `json:"floor_s"`
	ReplayS      float64 `json:"replay_s"`
	RatioToFloor float64 `json:"ratio_to_floor"`
	SweepExtra   float64 `json:"sweep_extra"` // share of replay_s that the sweep adds
	PeakRSSMB    float64 `json:"peak_rss_mb"`
	FloorCPUS    float64 `json:"floor_cpu_s"`
	ReplayCPUS   float64 `json:"replay_cpu_s"`
	// The same by chunks, without the iterator that storage.Querier puts over them: the harder floor.
	ChunkFloorS       float64 `json:"chunk_floor_s"`
	RatioToChunkFloor float64 `json:"ratio_to_chunk_floor"`
	Cores             int     `json:"cores"`
	Runs              int     `json:"runs"`
}

func measure(ctx context.Context, s settings, out, log io.Writer) error {
	history, err := tsdb.OpenHistory(s.dir, tsdb.HistoryOptions{})
	if err != nil {
		return err
	}
	defer history.Close()
	made := standard.New(s.tenants, s.days)
	f := figures{Workload: fmt.Sprintf("standard-t%d-d%d", s.tenants, s.days), Cores: runtime.GOMAXPROCS(0), Runs: s.runs}
	var floors, floorCPUs, chunkFloors, replays, cpus, ratios, chunkRatios, extras []float64
	for i := range s.runs {
		before := cpuTime()
		samples, floor, err := decodeAll(ctx, history, made.End(), decodeSamples)
		if err != nil {
			return err
		}
		f.Samples = samples
		floorCPUs = append(floorCPUs, (cpuTime() - before).Seconds())
		_, chunkFloor, err := decodeAll(ctx, history, made.End(), decodeChunks)
		if err != nil {
			return err
		}
		before = cpuTime()
		plain, err := replay(ctx, history, made.End(), false)
		if err != nil {
			return err
		}
		cpus = append(cpus, (cpuTime() - before).Seconds())
		swept, err := replay(ctx, history, made.End(), true)
		if err != nil {
			return err
		}
		fmt.Fprintf(log, "run %d: floor %.3fs (chunks %.3fs), replay %.3fs, with sweep %.3fs, %d firings, %d swept runs\n",
			i+1, floor.Seconds(), chunkFloor.Seconds(), plain.took.Seconds(), swept.took.Seconds(), plain.firings, swept.runs)
		floors, replays = append(floors, floor.Seconds()), append(replays, plain.took.Seconds())
		ratios = append(ratios, plain.took.Seconds()/floor.Seconds())
		chunkFloors = append(chunkFloors, chunkFloor.Seconds())
		chunkRatios = append(chunkRatios, plain.took.Seconds()/chunkFloor.Seconds())
		extras = append(extras, swept.took.Seconds()/plain.took.Seconds()-1)
	}
	f.FloorS, f.ReplayS, f.FloorCPUS, f.ReplayCPUS = median(floors), median(replays), median(floorCPUs), median(cpus)
	f.ChunkFloorS, f.RatioToChunkFloor = median(chunkFloors), median(chunkRatios)
	f.RatioToFloor, f.SweepExtra, f.PeakRSSMB = median(ratios), median(extras), peakRSS()
	return json.NewEncoder(out).Encode(f)
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// outcome is what one replay came to.
type outcome struct {
	took          time.Duration
	firings, runs int64
}

// replay replays the standard rules, and counts firings; with sweep, also those of 1,000 thresholds and three holds
// for every tier.
func replay(ctx context.Context, history *tsdb.History, end time.Time, sweep bool) (outcome, error) {
	var o outcome
	thresholds := make([]float64, 1000)
	for i := range thresholds {
		thresholds[i] = 0.1 + 0.1*float64(i)
	}
	began := time.Now()
	_, err := evaluator.Replay(ctx, standard.Rules(), history, evaluator.ReplayOptions{
		Start: standard.Start(), End: end, PartitionBy: "tenant", Operands: sweep,
		Sink: func(out *evaluator.Outcome) error {
			for _, r := range out.Rules {
				for _, e := range r.Episodes {
					if !e.FiredAt.IsZero() {
						o.firings++
					}
				}
				if r.Sweep == nil {
					continue
				}
				n, err := sweepRule(r.Sweep, out.Ticks, thresholds)
				if err != nil {
					return err
				}
				o.runs += n
			}
			return nil
		},
	})
	o.took = time.Since(began)
	return o, err
}

// sweepRule counts, over all thresholds and holds, how often one tier would have fired.
func sweepRule(s *evaluator.Sweep, ticks evaluator.Ticks, thresholds []float64) (firings int64, err error) {
	holds := []int{ticks.Held(0), ticks.Held(2 * time.Minute), ticks.Held(15 * time.Minute)}
	var column []float64
	for i := range s.Series {
		if column, err = s.Effective(column, i, 0, 1); err != nil {
			return 0, err
		}
		evaluator.Runs(column, thresholds, false, func(_, from, to int) {
			for _, hold := range holds {
				if to-from > hold {
					firings++
				}
			}
		})
	}
	return firings, nil
}

// decoder reads every sample of one service.
type decoder func(ctx context.Context, history *tsdb.History, end time.Time, service string) (int64, error)

// decodeAll reads every sample once: the floor. Each core reads the services that it gets hold of.
func decodeAll(ctx context.Context, history *tsdb.History, end time.Time, decode decoder) (int64, time.Duration, error) {
	began := time.Now()
	var (
		wg      sync.WaitGroup
		samples atomic.Int64
		next    = make(chan string)
		failed  = make(chan error, runtime.GOMAXPROCS(0))
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for service := range next {
				n, err := decode(ctx, history, end, service)
				if err != nil {
					failed <- err
					return
				}
				samples.Add(n)
			}
		})
	}
	for _, service := range standard.Services() {
		next <- service
	}
	close(next)
	wg.Wait()
	close(failed)
	return samples.Load(), time.Since(began), <-failed
}

func decodeChunks(ctx context.Context, history *tsdb.History, end time.Time, service string) (n int64, err error) {
	q, err := history.ChunkQuerier(standard.Start().UnixMilli(), end.UnixMilli())
	if err != nil {
		return 0, err
	}
	defer q.Close()
	set := q.Select(ctx, true, nil, of(service)...)
	var (
		chunks storage.ChunkSeries
		floats chunkenc.Iterator
		sum    float64
	)
	for set.Next() {
		chunks = set.At()
		it := chunks.Iterator(nil)
		for it.Next() {
			floats = it.At().Chunk.Iterator(floats)
			for floats.Next() != chunkenc.ValNone {
				_, v := floats.At()
				sum += v
				n++
			}
		}
		if err := it.Err(); err != nil {
			return n, err
		}
	}
	if sum < 0 {
		return n, fmt.Errorf("counters add up to %g", sum)
	}
	return n, set.Err()
}

func of(service string) []*labels.Matcher {
	return []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, standard.Metric),
		labels.MustNewMatcher(labels.MatchEqual, "service", service),
	}
}

func decodeSamples(ctx context.Context, history *tsdb.History, end time.Time, service string) (n int64, err error) {
	q, err := history.Querier(standard.Start().UnixMilli(), end.UnixMilli())
	if err != nil {
		return 0, err
	}
	defer q.Close()
	set := q.Select(ctx, true, nil, of(service)...)
	var (
		it  chunkenc.Iterator
		sum float64
	)
	for set.Next() {
		it = set.At().Iterator(it)
		for it.Next() != chunkenc.ValNone {
			_, v := it.At()
			sum += v
			n++
		}
		if err := it.Err(); err != nil {
			return n, err
		}
	}
	if sum < 0 {
		return n, fmt.Errorf("counters add up to %g", sum)
	}
	return n, set.Err()
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakRSS is the most memory that the process has held, in megabytes.
func peakRSS() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Maxrss) / 1024
}
