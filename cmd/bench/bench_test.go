package main

import (
	"context"
	"testing"

	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn/slowburn/evaluator"
	"github.com/slowburn/slowburn/evaluator/standard"
)

// BenchmarkReplay replays one tenant over three days of the standard history, which it makes as it reads: cmd/bench
// measures what a TSDB yields. What making it costs is measured beside.
func BenchmarkReplay(b *testing.B) {
	h := standard.New(1, 3)
	o := evaluator.ReplayOptions{Start: standard.Start(), End: h.End(), Parallelism: 1}
	b.Run("replay", func(b *testing.B) {
		for b.Loop() {
			done, err := evaluator.Replay(context.Background(), standard.Rules(), h, o)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(done.Samples), "samples")
		}
	})
	b.Run("history", func(b *testing.B) {
		for b.Loop() {
			q, err := h.Querier(0, h.End().UnixMilli())
			if err != nil {
				b.Fatal(err)
			}
			set := q.Select(context.Background(), true, nil)
			for set.Next() {
				drain(set.At())
			}
		}
	})
}

func drain(s storage.Series) {
	it := s.Iterator(nil)
	for it.Next() != 0 {
		it.At()
	}
}

// The standard history is the same whenever it is made, has the incidents that it says, and is read without the engine.
func TestStandardHistory(t *testing.T) {
	h := standard.New(2, 10)
	if len(h.Incidents) == 0 {
		t.Fatal("no incidents")
	}
	done, err := evaluator.Replay(context.Background(), standard.Rules(), h, evaluator.ReplayOptions{Start: standard.Start(), End: h.End()})
	if err != nil {
		t.Fatal(err)
	}
	if n := h.Samples(); done.Samples > n || done.Samples < n*999/1000 {
		t.Errorf("read %d samples of %d", done.Samples, h.Samples())
	}
	for _, r := range done.Rules {
		if r.Method != evaluator.Columnar {
			t.Errorf("%s %s: by %s: %s", r.Group, r.Rule, r.Method, r.Reason)
		}
	}
	found := 0
	for _, i := range h.Incidents {
		if i.Ratio*i.End.Sub(i.Start).Hours() > 0.08 && fires(done, i) { // 14.4 × 0.005 for an hour, and some
			found++
		} else if i.Ratio*i.End.Sub(i.Start).Hours() > 0.08 {
			t.Errorf("%v fires nothing", i)
		}
	}
	if found == 0 {
		t.Error("no incident is large enough to fire")
	}
}

func fires(done *evaluator.Replayed, i standard.Incident) bool {
	for _, out := range done.Outcomes {
		for _, r := range out.Rules {
			for _, e := range r.Episodes {
				if e.Labels.Get("service") == i.Service && e.Labels.Get("tenant") == i.Tenant && !e.FiredAt.Before(i.Start) && e.FiredAt.Before(i.End) {
					return true
				}
			}
		}
	}
	return false
}
