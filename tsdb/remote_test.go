package tsdb

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

func everything() [][]*labels.Matcher {
	return [][]*labels.Matcher{{labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+")}}
}

func TestFetchIsExact(t *testing.T) {
	h := source(t)
	mint, maxt := epoch+ms(90*time.Minute)+1, epoch+ms(17*time.Hour)+7 // no whole seconds, and not all there is
	floats := func(kind chunkenc.ValueType, v float64) bool {
		return kind == chunkenc.ValFloat && !value.IsStaleNaN(v)
	}
	numbers := func(kind chunkenc.ValueType, v float64) bool {
		return kind == chunkenc.ValFloat && (value.IsStaleNaN(v) || !math.IsNaN(v))
	}
	unsigned := func(kind chunkenc.ValueType, v float64) bool { return kind != chunkenc.ValFloat || v != 0 }
	for _, row := range []struct {
		what, address string
		serves        []string
		protocol      string
		keep          func(chunkenc.ValueType, float64) bool
		notes         string
	}{
		{"streamed chunks", "http://p", []string{"/api/v1/read", "/api/v1/query"}, "remote read", all, ""},
		{"samples, from an old server", "http://p", []string{"sampled"}, "remote read", unsigned, ""}, // the message has no -0
		{"the query API", "http://p/", []string{"/api/v1/query"}, "query API", floats, "staleness markers; native histograms are left out; mind the gap"},
		{"the query API, by its name", "http://p/api/v1/query", []string{"/api/v1/read", "/api/v1/query"}, "query API", floats, "staleness markers"},
		{"VictoriaMetrics", "http://p", []string{"/api/v1/export", "/api/v1/query"}, "VictoriaMetrics export", numbers, "15 significant digits"},
		{"below a prefix", "http://p/a/b/api/v1/read", []string{"/api/v1/read"}, "remote read", all, ""},
	} {
		t.Run(row.what, func(t *testing.T) {
			temp := t.TempDir()
			handler := server(h, row.serves...)
			if strings.Contains(row.address, "/a/b") {
				handler = http.StripPrefix("/a/b", handler)
			}
			r, err := OpenRemote(t.Context(), row.address, RemoteOptions{Client: to(handler), TempDir: temp})
			if err != nil {
				t.Fatal(err)
			}
			if r.Protocol() != row.protocol {
				t.Errorf("protocol %s", r.Protocol())
			}
			got, err := r.Fetch(t.Context(), everything(), mint, maxt)
			if err != nil {
				t.Fatal(err)
			}
			wantBits(t, bits(t, got, 0, 1<<62, row.keep), bits(t, h, mint, maxt, row.keep))
			if row.protocol == "VictoriaMetrics export" {
				wantNoOther(t, got)
			}
			notes := strings.Join(got.Notes(), "; ")
			for want := range strings.SplitSeq(row.notes, "; ") {
				if !strings.Contains(notes, want) || (want == "") != (notes == "") {
					t.Errorf("notes: %s, want %s", notes, want)
				}
			}
			if err := got.Close(); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// wantNoOther checks that no NaN came but staleness markers.
func wantNoOther(t *testing.T, h *History) {
	t.Helper()
	odd := bits(t, h, 0, 1<<62, func(_ chunkenc.ValueType, v float64) bool { return math.IsNaN(v) && !value.IsStaleNaN(v) })
	if len(odd) > 0 {
		t.Errorf("%d samples are NaN", len(odd))
	}
}

// A server that answers with faults now and then gives all the same samples as one without.
//
//nolint:bodyclose // bodies are in memory
func TestFetchSurvives(t *testing.T) {
	blocks := sourceBlocks(t)
	for _, row := range []struct {
		what  string
		fault func(r *http.Request, whole *http.Response) *http.Response
		least time.Duration // that must have passed
		most  time.Duration
	}{
		{"429 with a time to wait", status(429, "slow down", "Retry-After", "40"), 40 * time.Second, time.Hour},
		{"429 with a date to wait for", status(429, "slow down", "Retry-After", "Sat, 03 Jan 2026 10:00:50 GMT", "Date", "Sat, 03 Jan 2026 10:00:00 GMT"), 50 * time.Second, time.Hour},
		{"429 without", status(429, "slow down"), time.Second / 4, time.Minute},
		{"500", status(500, "oops"), time.Second / 4, time.Minute},
		{"503", status(503, "starting"), time.Second / 4, time.Minute},
		{"502 of a proxy, in HTML", status(502, "<html>bad gateway", "Content-Type", "text/html"), time.Second / 4, time.Minute},
		{"a stop midway", cut(func(body []byte) io.Reader { return breaking{bytes.NewReader(body[:len(body)/2])} }), time.Second / 4, time.Minute},
		{"an end midway", cut(func(body []byte) io.Reader { return bytes.NewReader(body[:len(body)/2]) }), time.Second / 4, time.Minute},
		{"an end in the head of a frame", cut(func(body []byte) io.Reader { return bytes.NewReader(body[:1]) }), time.Second / 4, time.Minute},
		{"a flipped bit", cut(flipped), time.Second / 4, time.Minute},
		{"422 of a query that asks too much", large(status(422, `{"status":"error","error":"query processing would load too many samples into memory in query execution"}`)), 0, time.Second},
		{"400 of a remote read that asks too much", large(status(400, "exceeded sample limit (5)")), 0, time.Second},
		{"413", large(status(413, "")), 0, time.Second},
		{"503 of a query that takes too long", large(status(503, "query timed out in query execution")), 0, time.Second},
		{"no end", large(func(r *http.Request, whole *http.Response) *http.Response {
			whole.Body = io.NopCloser(hanging{r.Context().Done()})
			return whole
		}), 5 * time.Minute, time.Hour},
	} {
		for _, serves := range []string{"/api/v1/read", "/api/v1/query", "/api/v1/export"} {
			if serves == "/api/v1/export" && !strings.Contains(row.what, "midway") {
				continue // alike
			}
			t.Run(row.what+" by "+serves, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := openHistory(t, blocks)
					var asked atomic.Int64
					good := to(server(h, serves))
					client := &http.Client{Transport: wire(func(r *http.Request) (*http.Response, error) {
						whole, err := good.Transport.RoundTrip(r)
						if asked.Add(1)%3 == 0 && err == nil { // the first is the probe's
							return row.fault(r, whole), nil
						}
						return whole, err
					})}
					began := time.Now()
					got := fetchAll(t, client, "")
					defer got.Close()
					floats := func(kind chunkenc.ValueType, v float64) bool { return kind == chunkenc.ValFloat && !math.IsNaN(v) }
					wantBits(t, bits(t, got, 0, 1<<62, floats), bits(t, h, 0, 1<<62, floats))
					if took := time.Since(began); took < row.least || took > row.most || asked.Load() < 6 {
						t.Errorf("%d requests in %s", asked.Load(), took)
					}
				})
			})
		}
	}
}

func fetchAll(t *testing.T, client *http.Client, cache string) *History {
	t.Helper()
	r, err := OpenRemote(t.Context(), "http://p", RemoteOptions{Client: client, TempDir: t.TempDir(), Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	h, err := r.Fetch(t.Context(), everything(), epoch, epoch+ms(sourceHours*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func status(code int, body string, header ...string) func(*http.Request, *http.Response) *http.Response {
	return func(r *http.Request, _ *http.Response) *http.Response {
		rec := httptest.NewRecorder()
		for n := 0; n < len(header); n += 2 {
			rec.Header().Set(header[n], header[n+1])
		}
		rec.WriteHeader(code)
		rec.WriteString(body)
		answer := rec.Result()
		answer.Request = r
		return answer
	}
}

// large is a fault of large answers alone.
func large(fault func(*http.Request, *http.Response) *http.Response) func(*http.Request, *http.Response) *http.Response {
	return func(r *http.Request, whole *http.Response) *http.Response {
		body, err := io.ReadAll(whole.Body)
		if err == nil && len(body) > 8000 {
			return fault(r, whole)
		}
		whole.Body = io.NopCloser(bytes.NewReader(body))
		return whole
	}
}

func cut(change func([]byte) io.Reader) func(*http.Request, *http.Response) *http.Response {
	return func(_ *http.Request, whole *http.Response) *http.Response {
		body, err := io.ReadAll(whole.Body)
		if err == nil && len(body) > 0 {
			whole.Body = io.NopCloser(change(body))
		}
		return whole
	}
}

func flipped(body []byte) io.Reader {
	if body[0] == '{' { // JSON has no checksum: only what breaks its form is noticed
		body[len(body)/2] = 0
		body[len(body)-1] = 0
	} else {
		body[len(body)/2] ^= 1
	}
	return bytes.NewReader(body)
}

// What will not get better is said at once, with the place and the server's own words.
//
//nolint:bodyclose // bodies are in memory
func TestFetchRefused(t *testing.T) {
	blocks := sourceBlocks(t)
	for _, row := range []struct {
		what   string
		answer func(*http.Request, *http.Response) *http.Response
		want   string
		most   time.Duration
	}{
		{"not allowed", status(401, `{"error":"who are you?"}`), "status 401 Unauthorized: who are you?", time.Second},
		{"a login page", status(200, "<html>", "Content-Type", "text/html"), "text/html, a page for people", time.Second},
		{"another JSON", status(200, `{"status":"success","data":{"resultType":"vector","result":[]}}`, "Content-Type", "application/json"), `result type "vector" in place of matrix`, time.Second},
		{"an error with status 200", status(200, `{"status":"error","error":"no"}`, "Content-Type", "application/json"), `status "error"`, time.Second},
		{"a part", status(200, `{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}`, "Content-Type", "application/json"), "only a part", time.Second},
		{"a value that is none", status(200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1767434400,"x"]]}]}}`, "Content-Type", "application/json"), `sample value "x"`, time.Second},
		{"always 500", status(500, "out of \x1b[31morder\n"), "status 500 Internal Server Error: out of  [31morder (given up after 7 tries)", 10 * time.Minute},
		{"always 429", status(429, "rate limited"), "status 429 Too Many Requests: rate limited (given up after 7 tries)", 10 * time.Minute},
		{"a wait of an hour", status(429, "rate limited", "Retry-After", "3600"), "rate limited", time.Second},
		{"always too much", status(422, "too many samples"), "status 422 Unprocessable Entity: too many samples", time.Second},
		{"always cut off", cut(func([]byte) io.Reader { return strings.NewReader(`{"status":`) }), "cut off or garbled", 10 * time.Minute},
	} {
		t.Run(row.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHistory(t, blocks)
				good, first := to(server(h, "/api/v1/query")), true
				var mu sync.Mutex
				client := &http.Client{Transport: wire(func(r *http.Request) (*http.Response, error) {
					whole, err := good.Transport.RoundTrip(r)
					mu.Lock()
					defer mu.Unlock()
					if first && err == nil {
						first = false
						return whole, nil
					}
					return row.answer(r, whole), nil
				})}
				temp, began := t.TempDir(), time.Now()
				r, err := OpenRemote(t.Context(), "http://user:hunter2@p/api/v1/query?token=hunter3", RemoteOptions{Client: client, TempDir: temp})
				if err != nil {
					t.Fatal(err)
				}
				_, err = r.Fetch(t.Context(), everything(), epoch, epoch+ms(sourceHours*time.Hour))
				if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "http://redacted@p/api/v1/query: ") {
					t.Fatalf("got %v, want %s", err, row.want)
				}
				if strings.Contains(err.Error(), "hunter") || strings.ContainsRune(err.Error(), '\x1b') {
					t.Errorf("secret or control characters in %q", err)
				}
				if took := time.Since(began); took > row.most {
					t.Errorf("took %s", took)
				}
				if left, _ := os.ReadDir(temp); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		})
	}
}

func TestOpenRemoteRefused(t *testing.T) {
	for address, want := range map[string]string{
		"http://p":              "remote read: ",
		"http://p/api/v1/read":  "http://p/api/v1/read: status 404 Not Found",
		"ftp://p":               "not an http or https address",
		"http://user:hunter2@[": "the address is no URL",
	} {
		_, err := OpenRemote(t.Context(), address, RemoteOptions{Client: to(http.NotFoundHandler())})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		client := &http.Client{Transport: wire(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") })}
		_, err := OpenRemote(t.Context(), "http://user:hunter2@p?token=hunter3", RemoteOptions{Client: client})
		if err == nil || !strings.Contains(err.Error(), "connection refused (given up after 3 tries)") || strings.Contains(err.Error(), "hunter") {
			t.Errorf("nobody there: %v", err)
		}
	})
}

// What was fetched before a stop is not asked for again, and the last hour is.
//
//nolint:bodyclose // bodies are in memory
func TestFetchResumes(t *testing.T) {
	h := source(t)
	cache := t.TempDir()
	good := to(server(h, "/api/v1/read"))
	var mu sync.Mutex
	asked, earliest := 0, int64(0) // but for the probe, whose time is none of the history's
	stopping := func(after int) *http.Client {
		asked, earliest = 0, math.MaxInt64
		return &http.Client{Transport: wire(func(r *http.Request) (*http.Response, error) {
			content, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			request, err := remote.DecodeReadRequest(&http.Request{Body: content})
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked > after {
				return status(403, "stop")(r, nil), nil
			}
			if at := request.Queries[0].StartTimestampMs; at > 0 {
				earliest = min(earliest, at)
			}
			return good.Transport.RoundTrip(r)
		})}
	}
	r, err := OpenRemote(t.Context(), "http://p", RemoteOptions{Client: stopping(3), Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	end := epoch + ms(sourceHours*time.Hour)
	if _, err := r.Fetch(t.Context(), everything(), epoch, end); err == nil || !strings.Contains(err.Error(), "stop") {
		t.Fatalf("the stop: %v", err)
	}
	for run, from := range []int64{epoch + ms(firstWidth), end - ms(settlingWhile)} {
		got := fetchAll(t, stopping(1000), cache)
		wantBits(t, bits(t, got, 0, 1<<62, all), bits(t, h, 0, 1<<62, all))
		if earliest < from || earliest == math.MaxInt64 {
			t.Errorf("run %d asked for the time from %s on, want %s", run, clock(earliest), clock(from))
		}
		second, err := OpenRemote(t.Context(), "http://p", RemoteOptions{Client: good, Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := second.Fetch(t.Context(), everything(), epoch, epoch+1); !errors.Is(err, ErrInUse) {
			t.Errorf("two at a time: %v", err)
		}
		if err := got.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFetchIsInterrupted(t *testing.T) {
	h, temp := source(t), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	good := to(server(h, "/api/v1/read"))
	var asked atomic.Int64
	client := &http.Client{Transport: wire(func(r *http.Request) (*http.Response, error) {
		if asked.Add(1) == 3 {
			cancel()
		}
		return good.Transport.RoundTrip(r)
	})}
	r, err := OpenRemote(ctx, "http://p", RemoteOptions{Client: client, TempDir: temp})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Fetch(ctx, everything(), epoch, epoch+ms(sourceHours*time.Hour)); !errors.Is(err, context.Canceled) {
		t.Errorf("fetch: %v", err)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A piece that holds more than we take is cut in two, and no answer fills the memory.
func TestFetchOfTooMuch(t *testing.T) {
	p := &piece{sorter: newSorter("", 0, 0), span: span{0, 1 << 40}, floats: make([]spooledFloat, maxPiece)}
	if err := p.take(0, sample{t: 1}); !errors.Is(err, errTooMuch) {
		t.Errorf("one sample more: %v", err)
	}
	endless := &bounded{io.NopCloser(zeros{}), 1 << 20}
	if n, err := io.Copy(io.Discard, endless); n != 1<<20 || !errors.Is(err, errTooMuch) {
		t.Errorf("%d bytes read, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWithoutNarrower(t *testing.T) {
	m := func(name, value string) *labels.Matcher { return labels.MustNewMatcher(labels.MatchEqual, name, value) }
	got := withoutNarrower([][]*labels.Matcher{
		{m("__name__", "a"), m("code", "500")}, {m("__name__", "a")}, {m("__name__", "b"), m("code", "1")}, {m("code", "1"), m("__name__", "b")}, {m("__name__", "a")},
	})
	if len(got) != 2 || selectorText(got[0]) != `{__name__="a"}` || selectorText(got[1]) != `{__name__="b",code="1"}` {
		t.Errorf("got %v", got)
	}
}

func TestRemoteLists(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/x/api/v1/label/__name__/values" && r.FormValue("start") == "1" && r.FormValue("end") == "2" && r.FormValue("extra") == "1":
			io.WriteString(w, `{"status":"success","data":["a","b"]}`)
		case r.URL.Path == "/x/api/v1/labels" && r.FormValue("match[]") == `{__name__="a"}`:
			io.WriteString(w, `{"status":"success","data":["code"]}`)
		default:
			http.NotFound(w, r)
		}
	})
	base, err := url.Parse("http://p/x?extra=1")
	if err != nil {
		t.Fatal(err)
	}
	r := &Remote{base: base, opts: RemoteOptions{Client: to(handler)}.withDefaults(), patience: defaultPatience()}
	names, err := r.Metrics(t.Context(), 1999, 2000)
	if err != nil || strings.Join(names, " ") != "a b" {
		t.Errorf("metrics: %v %v", names, err)
	}
	if names, err = r.LabelNames(t.Context(), "a", 1000, 2000); err != nil || strings.Join(names, " ") != "code" {
		t.Errorf("labels: %v %v", names, err)
	}
	if _, err = r.LabelNames(t.Context(), "b", 1000, 2000); !errors.Is(err, ErrNotServed) {
		t.Errorf("not served: %v", err)
	}
}

func FuzzRemoteAnswers(f *testing.F) {
	h := &piece{sorter: newSorter("", 0, 0)}
	chunk := chunkenc.NewXORChunk()
	app, err := chunk.Appender()
	if err != nil {
		f.Fatal(err)
	}
	app.Append(0, 1, 2)
	frame, err := (&prompb.ChunkedReadResponse{ChunkedSeries: []*prompb.ChunkedSeries{{
		Labels: []prompb.Label{{Name: "a", Value: "b"}}, Chunks: []prompb.Chunk{{Type: prompb.Chunk_XOR, Data: chunk.Bytes()}},
	}}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame)
	f.Add([]byte(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1.5,"2"]]}]}}`))
	f.Add([]byte(`{"metric":{"a":"b"},"values":[1,null,"Infinity"],"timestamps":[1,2,3]}` + "\n"))
	f.Add([]byte(`{"status":"success","data":null}[`))
	f.Fuzz(func(_ *testing.T, body []byte) {
		for _, row := range []struct {
			p    protocol
			kind string
		}{{queryAPI{}, "application/json"}, {export{}, "application/json"}, {remoteRead{}, streamedType}, {remoteRead{}, sampledType}} {
			*h = piece{sorter: newSorter("", 0, 0), span: span{0, 1 << 40}}
			row.p.decode(&http.Response{Header: http.Header{"Content-Type": {row.kind}}, Body: io.NopCloser(bytes.NewReader(body))}, h)
		}
		var response prompb.ChunkedReadResponse
		if response.Unmarshal(body) == nil {
			for _, series := range response.ChunkedSeries {
				readChunks(series, h)
			}
		}
	})
}

func TestSeconds(t *testing.T) {
	for ms, want := range map[int64]string{0: "0", 999: "0", 1000: "1", -1: "-1", 1767434400123: "1767434400"} {
		if got := seconds(ms); got != want {
			t.Errorf("%s ms: %s, want %s", strconv.FormatInt(ms, 10), got, want)
		}
	}
}
