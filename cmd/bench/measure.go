package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/evaluator/standard"
	"github.com/slowburn/slowburn/tsdb"
)

// figures are what is reported: medians over the runs, and of the ratios within a run.
type figures struct {
	Workload          string  `json:"workload"`
	Samples           int64   `json:"samples"`
	FloorS            float64 `json:"floor_s"`
	ReplayS           float64 `json:"replay_s"`
	RatioToFloor      float64 `json:"ratio_to_floor"`
	SweepExtra        float64 `json:"sweep_extra"`  // share of replay_s that the sweep adds
	PeakRSSMB         float64 `json:"peak_rss_mb"`  // of all that this process did
	PeakAnonMB        float64 `json:"peak_anon_mb"` // of that, what is not pages of the history's files
	FloorCPUS         float64 `json:"floor_cpu_s"`
	ReplayCPUS        float64 `json:"replay_cpu_s"`
	ChunkFloorS       float64 `json:"chunk_floor_s"` // the harder floor: see decodeChunks
	RatioToChunkFloor float64 `json:"ratio_to_chunk_floor"`
	ColdStartS        float64 `json:"cold_start_s,omitempty"` // from the start of slowburn to its printed verdict
	ColdStartRSSMB    float64 `json:"cold_start_rss_mb,omitempty"`
	ColdStartCPUS     float64 `json:"cold_start_cpu_s,omitempty"`
	Peers             []peer  `json:"peers,omitempty"`
	Cores             int     `json:"cores"`
	Runs              int     `json:"runs"`
}

// reading is one run's times.
type reading struct {
	floor, chunks, plain, swept float64 // seconds
	floorCPU, plainCPU          float64
}

// measure reads and replays in turn, and prints one line of JSON.
func measure(ctx context.Context, s settings, out, log io.Writer) error {
	history, err := tsdb.OpenHistory(s.dir, tsdb.HistoryOptions{})
	if err != nil {
		return err
	}
	defer history.Close()
	debug.SetGCPercent(50) // as slowburn backtest does
	memory := watchMemory()
	f := figures{Workload: s.workload(), Cores: runtime.GOMAXPROCS(0), Runs: s.runs}
	var all []reading
	for i := range s.runs {
		r, err := measureOnce(ctx, history, s.end(), &f, log)
		if err != nil {
			return err
		}
		fmt.Fprintf(log, "run %d: floor %.3fs (chunks %.3fs), replay %.3fs, with sweep %.3fs\n", i+1, r.floor, r.chunks, r.plain, r.swept)
		all = append(all, r)
	}
	f.summarize(all)
	f.PeakRSSMB, f.PeakAnonMB = memory.peak()
	return json.NewEncoder(out).Encode(f)
}

func measureOnce(ctx context.Context, history *tsdb.History, end time.Time, f *figures, log io.Writer) (r reading, err error) {
	before := cpuTime()
	if f.Samples, r.floor, err = decodeAll(ctx, history, end, decodeSamples); err != nil {
		return r, err
	}
	r.floorCPU = (cpuTime() - before).Seconds()
	if _, r.chunks, err = decodeAll(ctx, history, end, decodeChunks); err != nil {
		return r, err
	}
	before = cpuTime()
	plain, err := replay(ctx, history, end, false)
	if err != nil {
		return r, err
	}
	r.plain, r.plainCPU = plain.took.Seconds(), (cpuTime() - before).Seconds()
	swept, err := replay(ctx, history, end, true)
	r.swept = swept.took.Seconds()
	fmt.Fprintf(log, "%d firings; %d of 1,000 thresholds and three holds\n", plain.firings, swept.runs)
	return r, err
}

func (f *figures) summarize(all []reading) {
	of := func(figure func(reading) float64) float64 {
		var values []float64
		for _, r := range all {
			values = append(values, figure(r))
		}
		return median(values)
	}
	f.FloorS, f.FloorCPUS = of(func(r reading) float64 { return r.floor }), of(func(r reading) float64 { return r.floorCPU })
	f.ReplayS, f.ReplayCPUS = of(func(r reading) float64 { return r.plain }), of(func(r reading) float64 { return r.plainCPU })
	f.ChunkFloorS = of(func(r reading) float64 { return r.chunks })
	f.RatioToFloor = of(func(r reading) float64 { return r.plain / r.floor })
	f.RatioToChunkFloor = of(func(r reading) float64 { return r.plain / r.chunks })
	f.SweepExtra = of(func(r reading) float64 { return r.swept/r.plain - 1 })
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
			return o.count(out, thresholds)
		},
	})
	o.took = time.Since(began)
	return o, err
}

func (o *outcome) count(out *evaluator.Outcome, thresholds []float64) error {
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

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
