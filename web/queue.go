package web

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// queue lets so many queries at once run and have their answers written. Upstream's own gate opens again before an
// answer is encoded, and sixty answers under way leave neither memory nor processor to the rules. Queries are read and
// judged before they have to wait, so that refusals are quick.
type queue struct {
	promql.QueryEngine
	places   chan struct{}
	patience time.Duration
}

func newQueue(e promql.QueryEngine, l Limits) queue {
	return queue{e, make(chan struct{}, l.Concurrency), l.Timeout}
}

// NewInstantQuery implements promql.QueryEngine.
func (q queue) NewInstantQuery(ctx context.Context, s storage.Queryable, o promql.QueryOpts, text string, at time.Time) (promql.Query, error) {
	prepared, err := q.QueryEngine.NewInstantQuery(ctx, s, o, text, at)
	if err != nil {
		return nil, err
	}
	return &queued{Query: prepared, queue: q}, nil
}

// NewRangeQuery implements promql.QueryEngine.
func (q queue) NewRangeQuery(ctx context.Context, s storage.Queryable, o promql.QueryOpts, text string, start, end time.Time, step time.Duration) (promql.Query, error) {
	prepared, err := q.QueryEngine.NewRangeQuery(ctx, s, o, text, start, end, step)
	if err != nil {
		return nil, err
	}
	return &queued{Query: prepared, queue: q}, nil
}

// queued is a query that takes a place when it runs, and gives it back when it is closed: upstream's handlers close a
// query after they have answered.
type queued struct {
	promql.Query
	queue   queue
	release func()
}

// Exec implements promql.Query. Waiting and running share one bound.
func (q *queued) Exec(ctx context.Context) *promql.Result {
	ctx, cancel := context.WithTimeout(ctx, q.queue.patience)
	defer cancel()
	select {
	case q.queue.places <- struct{}{}:
		q.release = sync.OnceFunc(func() { <-q.queue.places })
		return q.Query.Exec(ctx)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &promql.Result{Err: promql.ErrQueryTimeout("query queue")}
		}
		return &promql.Result{Err: promql.ErrQueryCanceled("query queue")}
	}
}

// Close implements promql.Query.
func (q *queued) Close() {
	q.Query.Close()
	if q.release != nil {
		q.release()
	}
}
