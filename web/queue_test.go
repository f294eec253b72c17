package web

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// lazy is an engine whose queries do nothing.
type lazy struct{ promql.QueryEngine }

type idleQuery struct{ promql.Query }

func (lazy) NewInstantQuery(context.Context, storage.Queryable, promql.QueryOpts, string, time.Time) (promql.Query, error) {
	return idleQuery{}, nil
}

func (idleQuery) Exec(context.Context) *promql.Result { return &promql.Result{} }
func (idleQuery) Close()                              {}

// longQuery runs until it is stopped.
type longQuery struct{ idleQuery }

func (longQuery) Exec(ctx context.Context) *promql.Result {
	<-ctx.Done()
	return &promql.Result{Err: ctx.Err()}
}

func TestQueueCountsTheWaitAsTimeOfTheQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(lazy{}, Limits{Concurrency: 1, Timeout: 4 * time.Second})
		q.places <- struct{}{}
		began := time.Now()
		time.AfterFunc(3*time.Second, func() { <-q.places })
		late := &queued{Query: longQuery{}, queue: q}
		if r := late.Exec(t.Context()); !errors.Is(r.Err, context.DeadlineExceeded) {
			t.Errorf("what runs too long: %v", r.Err)
		}
		late.Close()
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("a query that waited for 3s of 4s took %s", took)
		}
	})
}

func TestQueueHoldsAPlaceUntilTheAnswerIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(lazy{}, Limits{Concurrency: 1, Timeout: time.Second})
		query := func() promql.Query { return must(q.NewInstantQuery(t.Context(), nil, nil, "up", time.Now()))(t) }
		first, second, third := query(), query(), query()
		if r := first.Exec(t.Context()); r.Err != nil {
			t.Fatal(r.Err)
		}
		if r := second.Exec(t.Context()); r.Err == nil || !strings.Contains(r.Err.Error(), "timed out in query queue") {
			t.Errorf("the second while the first is not closed: %v", r.Err)
		}
		second.Close()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if r := query().Exec(gone); r.Err == nil || !strings.Contains(r.Err.Error(), "canceled in query queue") {
			t.Errorf("a client that has gone: %v", r.Err)
		}
		first.Close()
		first.Close()
		if r := third.Exec(t.Context()); r.Err != nil {
			t.Errorf("the third when the first is closed: %v", r.Err)
		}
		third.Close()
	})
}
