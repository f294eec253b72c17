package tsdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

const sourceHours = 20

func ms(d time.Duration) int64 { return d.Milliseconds() }

// exotic are values that a careless reader changes.
func exotic(n int) float64 {
	switch n % 11 {
	case 3:
		return math.Float64frombits(value.StaleNaN)
	case 5:
		return math.Inf(1)
	case 6:
		return math.Inf(-1)
	case 7:
		return math.Copysign(0, -1)
	case 8:
		return 0.1 + float64(n)*1e-17 + 1.0/3
	case 9:
		return math.Float64frombits(value.NormalNaN)
	case 10:
		return 5e-324
	}
	return float64(n)
}

// source is twenty hours of samples, at times that are no whole seconds.
func source(t *testing.T) *History {
	t.Helper()
	return openHistory(t, sourceBlocks(t))
}

func sourceBlocks(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := writeBlock(context.Background(), dir, sourceHours*time.Hour, func(add adder) error {
		for n := range 4 {
			ls := labels.FromStrings(labels.MetricName, "up", "n", strconv.Itoa(n), "quoted", `a"b\c`+"\nü")
			for at := range sourceHours * 60 {
				if _, err := add(0, ls, sample{t: epoch + int64(at)*60_000 + int64(n*7), v: exotic(at)}); err != nil {
					return err
				}
			}
		}
		for at := range sourceHours {
			t := epoch + int64(at)*3_600_000
			if _, err := add(0, labels.FromStrings(labels.MetricName, "h"), sample{t: t, h: tsdbutil.GenerateTestHistogram(int64(at))}); err != nil {
				return err
			}
			if _, err := add(0, labels.FromStrings(labels.MetricName, "fh"), sample{t: t, fh: tsdbutil.GenerateTestFloatHistogram(int64(at))}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// bits is every sample to the last bit, a line each; floats that keep refuses are left out.
func bits(t *testing.T, q storage.Queryable, mint, maxt int64, keep func(kind chunkenc.ValueType, v float64) bool) []string {
	t.Helper()
	querier, err := q.Querier(mint, maxt)
	if err != nil {
		t.Fatal(err)
	}
	defer querier.Close()
	var out []string
	set := querier.Select(context.Background(), true, nil, allSeries()...)
	for set.Next() {
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			s := sampleAt(it, kind)
			if !keep(kind, s.v) {
				continue
			}
			line := fmt.Sprintf("%s %d %x", set.At().Labels(), s.t, math.Float64bits(s.v))
			if kind != chunkenc.ValFloat {
				line += fmt.Sprint(s.h, s.fh)
			}
			out = append(out, line)
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return out
}

func all(chunkenc.ValueType, float64) bool { return true }

func wantBits(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) == 0 || len(got) != len(want) {
		t.Fatalf("%d samples, want %d", len(got), len(want))
	}
	for n := range got {
		if got[n] != want[n] {
			t.Fatalf("sample %d: %s, want %s", n, got[n], want[n])
		}
	}
}

// server answers from a history, as a Prometheus, a VictoriaMetrics or only one of their endpoints would.
func server(h *History, paths ...string) http.Handler {
	mux := http.NewServeMux()
	read := remote.NewReadHandler(slog.New(slog.DiscardHandler), nil, h, func() config.Config { return config.Config{} }, 0, 10, 1<<14)
	for _, path := range paths {
		switch path {
		case "/api/v1/read":
			mux.Handle("POST "+path, read)
		case "sampled":
			mux.Handle("POST /api/v1/read", onlySamples(read))
		case "/api/v1/query":
			mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { answerQuery(h, w, r) })
		case "/api/v1/export":
			mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { answerExport(h, w, r) })
		}
	}
	return mux
}

// onlySamples takes from requests what old servers do not know.
func onlySamples(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := remote.DecodeReadRequest(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request.AcceptedResponseTypes = []prompb.ReadRequest_ResponseType{prompb.ReadRequest_SAMPLES}
		content, err := request.Marshal()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(snappy.Encode(nil, content)))
		next.ServeHTTP(w, r)
	})
}

// each calls f for the series of a selector.
func each(h *History, selector string, mint, maxt int64, f func(metric string, samples []sample)) error {
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(selector)
	if err != nil {
		return err
	}
	q, err := h.Querier(mint, maxt)
	if err != nil {
		return err
	}
	defer q.Close()
	set := q.Select(context.Background(), true, nil, matchers...)
	for set.Next() {
		var metric []string
		set.At().Labels().Range(func(l labels.Label) { metric = append(metric, fmt.Sprintf("%q:%s", l.Name, jsonText(l.Value))) })
		var samples []sample
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if s := sampleAt(it, kind); s.t >= mint && s.t <= maxt {
				samples = append(samples, s)
			}
		}
		f("{"+strings.Join(metric, ",")+"}", samples)
	}
	return set.Err()
}

func jsonText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func answerQuery(h *History, w http.ResponseWriter, r *http.Request) {
	query := regexp.MustCompile(`^(\{.*\})\[(\d+)ms\]$`).FindStringSubmatch(r.FormValue("query"))
	end, err := strconv.ParseInt(r.FormValue("time"), 10, 64)
	if query == nil || err != nil {
		http.Error(w, `{"status":"error","errorType":"bad_data","error":"bad query"}`, http.StatusBadRequest)
		return
	}
	width, _ := strconv.ParseInt(query[2], 10, 64)
	var result []string
	err = each(h, query[1], end*1000-width+1, end*1000, func(metric string, samples []sample) {
		var values []string
		for _, s := range samples {
			if s.h == nil && s.fh == nil && !value.IsStaleNaN(s.v) {
				values = append(values, fmt.Sprintf(`[%d.%03d,%q]`, s.t/1000, s.t%1000, strconv.FormatFloat(s.v, 'f', -1, 64)))
			}
		}
		if len(values) > 0 {
			result = append(result, fmt.Sprintf(`{"metric":%s,"values":[%s]}`, metric, strings.Join(values, ",")))
		} else {
			result = append(result, fmt.Sprintf(`{"histograms":[[1,{"count":"1"}]],"metric":%s}`, metric))
		}
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[%s]},"warnings":["mind the gap"]}`, strings.Join(result, ","))
}

func answerExport(h *History, w http.ResponseWriter, r *http.Request) {
	start, _ := strconv.ParseInt(r.FormValue("start"), 10, 64)
	end, _ := strconv.ParseInt(r.FormValue("end"), 10, 64)
	w.Header().Set("Content-Type", "application/stream+json; charset=utf-8")
	err := each(h, r.FormValue("match[]"), start*1000, end*1000, func(metric string, samples []sample) {
		for part := range slices.Chunk(samples, 1000) {
			var values, times []string
			for _, s := range part {
				text := strconv.FormatFloat(s.v, 'f', -1, 64)
				switch {
				case s.h != nil || s.fh != nil || math.IsNaN(s.v) && !value.IsStaleNaN(s.v): // it does not store them
					continue
				case math.IsNaN(s.v):
					text = "null"
				case math.IsInf(s.v, 1): // as old ones write it
				case math.IsInf(s.v, -1):
					text = fmt.Sprintf("%q", strings.ReplaceAll(text, "+", "")+"inity")
				}
				values, times = append(values, text), append(times, strconv.FormatInt(s.t, 10))
			}
			fmt.Fprintf(w, "{\"metric\":%s,\"values\":[%s],\"timestamps\":[%s]}\n", metric, strings.Join(values, ","), strings.Join(times, ","))
		}
	})
	if err != nil {
		panic(err) // which breaks the answer off
	}
}

// wire is a network without a network: it answers from a handler, and keeps what was asked.
type wire func(*http.Request) (*http.Response, error)

func (f wire) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func to(h http.Handler) *http.Client {
	return &http.Client{Transport: wire(func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		answer := rec.Result()
		answer.Request = r
		return answer, nil
	})}
}

// breaking is a body that ends in an error.
type breaking struct{ io.Reader }

func (b breaking) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// hanging is a body that goes on for as long as anybody listens.
type hanging struct{ done <-chan struct{} }

func (h hanging) Read([]byte) (int, error) {
	<-h.done
	return 0, context.DeadlineExceeded
}
