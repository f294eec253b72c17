package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/slowburn/slowburn/evaluator/standard"
	"github.com/slowburn/slowburn/tsdb"
)

// decoder reads every sample of one service.
type decoder func(ctx context.Context, history *tsdb.History, end time.Time, service string) (int64, error)

// decodeAll reads every sample once: the floor. Each core reads the services that it gets hold of.
func decodeAll(ctx context.Context, history *tsdb.History, end time.Time, decode decoder) (int64, float64, error) {
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
	return samples.Load(), time.Since(began).Seconds(), <-failed
}

// sum adds up what it reads, so that no read can be left out.
type sum struct {
	samples int64
	total   float64
}

func (s *sum) drain(it chunkenc.Iterator) error {
	for it.Next() != chunkenc.ValNone {
		_, v := it.At()
		s.total += v
		s.samples++
	}
	return it.Err()
}

// result is the number of samples; all are of counters.
func (s *sum) result(err error) (int64, error) {
	if err == nil && s.total < 0 {
		err = fmt.Errorf("counters add up to %g", s.total)
	}
	return s.samples, err
}

// decodeChunks decodes the bare chunks, without the iterator that a storage.Querier puts over them: the harder floor.
func decodeChunks(ctx context.Context, history *tsdb.History, end time.Time, service string) (n int64, err error) {
	q, err := history.ChunkQuerier(standard.Start().UnixMilli(), end.UnixMilli())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	var (
		s      sum
		floats chunkenc.Iterator
		set    = q.Select(ctx, true, nil, of(service)...)
	)
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() {
			floats = it.At().Chunk.Iterator(floats)
			if err := s.drain(floats); err != nil {
				return 0, err
			}
		}
		if err := it.Err(); err != nil {
			return 0, err
		}
	}
	return s.result(set.Err())
}

// decodeSamples decodes by way of storage.Querier: the floor.
func decodeSamples(ctx context.Context, history *tsdb.History, end time.Time, service string) (n int64, err error) {
	q, err := history.Querier(standard.Start().UnixMilli(), end.UnixMilli())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	var (
		s   sum
		it  chunkenc.Iterator
		set = q.Select(ctx, true, nil, of(service)...)
	)
	for set.Next() {
		it = set.At().Iterator(it)
		if err := s.drain(it); err != nil {
			return 0, err
		}
	}
	return s.result(set.Err())
}

func of(service string) []*labels.Matcher {
	return []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, standard.Metric),
		labels.MustNewMatcher(labels.MatchEqual, "service", service),
	}
}
