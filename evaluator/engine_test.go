package evaluator

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
)

func TestJudgedQueries(t *testing.T) {
	nest := func(n int, open, inner, shut string) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(shut, n)
	}
	doubled := func(n int) string {
		return nest(n, "label_replace(", "up", `, "a", "$1$1", "a", "(.*)")`)
	}
	for _, row := range []struct {
		name, query string
		err         string // empty: the query passes
	}{
		{"plain", `sum by (job) (rate(http_requests_total{code=~"5.."}[5m]))`, ""},
		{"a day by the minute", `max_over_time(up[1d:1m])`, ""},
		{"the most steps", `max_over_time(up[11000s:1s])`, ""},
		{"one step more", `max_over_time(up[11001s:1s])`, "subquery up[3h3m21s:1s] has 11001 steps, more than 11000"},
		{"a year by the millisecond", `sum_over_time({__name__=~".+"}[1y:1ms])`, "31536000000 steps, more than 11000"},
		{"the default step", `max_over_time(up[1w:])`, ""},
		{"the default step, too long", `max_over_time(up[8d:])`, "has 11520 steps"},
		{"nested", `max_over_time(sum_over_time(up[100s:1s])[100s:1s])`, ""},
		{"nested, multiplied", `max_over_time(sum_over_time(up[200s:1s])[200s:1s])`, "has 40000 steps"},
		{"nested, short within long", `max_over_time(sum_over_time(up[1ms:1ms])[1y:1h])`, "steps over the range that is asked for"},
		{"offset", `max_over_time(up[1d:1m] offset 1w)`, ""},
		{"offset, too long", `max_over_time(up[1y:1ms] offset 1w)`, "31536000000 steps"},
		{"at a time", `max_over_time(up[1y:1ms] @ 0)`, "31536000000 steps"},
		{"hidden in a binary", `1 + (up * max_over_time(up[1y:1ms]))`, "31536000000 steps"},
		{"hidden in a parameter", `topk(scalar(max_over_time(up[1y:1ms])), up)`, "31536000000 steps"},
		{"centuries in centuries", `max_over_time(max_over_time(up[290y:200y])[290y:200y])`, "reaches back more than"},
		{"500 parentheses", nest(500, "(", "1", ")"), ""},
		{"501 parentheses", nest(501, "(", "1", ")"), "nests brackets more than 500 deep"},
		{"a million parentheses", nest(1_000_000, "(", "1", ")"), "query of 2000001 bytes is longer than 65536"},
		{"200,000 sums", nest(200_000, "sum(", "up", ")"), "is longer than 65536"},
		{"brackets in a string", `up{a="` + strings.Repeat("(", 1000) + `"}`, ""},
		{"brackets shut in a string", `up{a="` + strings.Repeat(")", 1000) + `"} + ` + nest(501, "(", "1", ")"), "nests brackets"},
		{"brackets shut in comments", nest(501, "(#)\n", "1", ")"), "nests brackets"},
		{"2,000 operators", "1" + strings.Repeat("+1", 2000), ""},
		{"2,001 operators", "1" + strings.Repeat("+1", 2001), "more than 2000 operators"},
		{"signs", strings.Repeat("-", 60_000) + "1", "more than 2000 operators"},
		{"doubled labels", doubled(9), ""},
		{"label doubled without end", doubled(40), "nested label_replace could repeat a label's value 1024 times"},
		{"label joined without end", nest(10, "label_join(", "up", `, "a", "", "a", "a", "a")`), "nested label_join"},
		{"regexp", `{__name__=~"b` + nest(200, "(a?", "a", ")*") + `"}`, ""}, // linear; the parser's own limits hold
		{"not a query", `sum(`, "parse error"},
		{"string without end", `"` + strings.Repeat("(", 600), "unterminated quoted string"},
		{"not UTF-8", "up{a=\"\xff\"}", "invalid UTF-8 rune"},
		{"nothing", "", "no expression found"},
	} {
		start := time.Now()
		_, err := NewParser().ParseExpr(row.query)
		if spent := time.Since(start); spent > 2*time.Second {
			t.Errorf("%s: judged for %s", row.name, spent)
		}
		switch {
		case row.err == "" && err != nil:
			t.Errorf("%s: %v", row.name, err)
		case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
			t.Errorf("%s: got %v, want an error with %q", row.name, err, row.err)
		case err != nil && len(err.Error()) > 2000:
			t.Errorf("%s: the message has %d bytes", row.name, len(err.Error()))
		}
	}
}

func TestJudgedSelectors(t *testing.T) {
	long := `{a="` + strings.Repeat("x", MaxQueryBytes) + `"}`
	if _, err := NewParser().ParseMetricSelector(`up{job="api"}`); err != nil {
		t.Error(err)
	}
	if _, err := NewParser().ParseMetricSelector(long); err == nil {
		t.Error("a long selector passes")
	}
	if all, err := NewParser().ParseMetricSelectors([]string{"up", `{job="api"}`}); err != nil || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	if _, err := NewParser().ParseMetricSelectors([]string{"up", long}); err == nil {
		t.Error("a long selector passes behind a short one")
	}
}

// TestRulesAreJudgedByTextAlone: who writes rules may want a long subquery.
func TestRulesAreJudgedByTextAlone(t *testing.T) {
	p := newParser(0)
	if _, err := p.ParseExpr(`max_over_time(up[30d:1m])`); err != nil {
		t.Error(err)
	}
	if _, err := p.ParseExpr(strings.Repeat("(", 501) + "1" + strings.Repeat(")", 501)); err == nil {
		t.Error("a rule that nests without end passes")
	}
}

// TestRangeQueriesAreJudgedByTheirRange: ten seconds by the millisecond are 10,000 steps, over a year 3 × 10¹⁰.
func TestRangeQueriesAreJudgedByTheirRange(t *testing.T) {
	db := promqltest.LoadedStorage(t, "load 1m\n  up 1 1 1 1")
	bounded, free := NewEngine(EngineOptions{MaxSubquery: MaxSubqueryPoints}), NewEngine(EngineOptions{})
	start := time.Unix(0, 0)
	const year = 365 * 24 * time.Hour
	for _, row := range []struct {
		query string
		span  time.Duration
		err   string
	}{
		{`sum_over_time(up[10s:1ms])`, time.Minute, ""},
		{`sum_over_time(up[10s:1ms])`, year, "steps over the range that is asked for, more than 1100000"},
		{`sum_over_time(up[1h:1m])`, year, ""},
		{`sum_over_time(up[1y:1ms])`, time.Minute, "more than 11000"},
		{`up`, year, ""},
	} {
		q, err := bounded.NewRangeQuery(t.Context(), db, nil, row.query, start, start.Add(row.span), row.span/60)
		switch {
		case row.err == "" && err != nil:
			t.Errorf("%s over %s: %v", row.query, row.span, err)
		case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
			t.Errorf("%s over %s: got %v, want an error with %q", row.query, row.span, err, row.err)
		}
		if err != nil {
			continue
		}
		if r := q.Exec(t.Context()); r.Err != nil {
			t.Errorf("%s over %s: %v", row.query, row.span, r.Err)
		}
		q.Close()
	}
	if q, err := free.NewRangeQuery(t.Context(), db, nil, `sum_over_time(up[10s:1ms])`, start, start.Add(year), time.Hour); err != nil {
		t.Errorf("an engine without a bound refuses: %v", err)
	} else {
		q.Close()
	}
}

func TestGateLetsSoManyThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate, 2)
		if g.GetMaxConcurrent() != 2 {
			t.Fatalf("gate of %d", g.GetMaxConcurrent())
		}
		for range 2 {
			if _, err := g.Insert(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Insert(short, ""); err == nil || !strings.Contains(err.Error(), "wait for one of 2 query places") {
			t.Fatalf("a third query passes: %v", err)
		}
		passed := make(chan error, 1)
		go func() { // ends when a place is given back
			_, err := g.Insert(t.Context(), "")
			passed <- err
		}()
		synctest.Wait()
		if len(passed) != 0 {
			t.Fatal("a third query passes a full gate")
		}
		g.Delete(0)
		if err := <-passed; err != nil {
			t.Fatal(err)
		}
	})
}

// TestEngineWaitsAtItsGate holds one query in its storage, so that a second one finds no place.
func TestEngineWaitsAtItsGate(t *testing.T) {
	db := promqltest.LoadedStorage(t, "load 1m\n  up 1 1 1 1")
	engine := NewEngine(EngineOptions{MaxConcurrent: 1})
	ask := func(e *Engine, source storage.Queryable) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		q, err := e.NewInstantQuery(ctx, source, nil, "up", time.Unix(0, 0))
		if err != nil {
			return err
		}
		defer q.Close()
		return q.Exec(t.Context()).Err
	}
	inside := func(e *Engine) (err error) {
		source := storage.QueryableFunc(func(from, to int64) (storage.Querier, error) {
			err = ask(e, db) // while the outer query holds its place
			return db.Querier(from, to)
		})
		if outer := ask(engine, source); outer != nil {
			t.Fatal(outer)
		}
		return err
	}
	if err := inside(engine); err == nil || !strings.Contains(err.Error(), "wait for one of 1 query places") {
		t.Errorf("a second query of the same engine: %v", err)
	}
	if err := inside(NewEngine(EngineOptions{MaxConcurrent: 1})); err != nil {
		t.Errorf("a query of another engine: %v", err)
	}
}

var _ promql.QueryEngine = (*Engine)(nil)
