package tsdb

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	jsoniter "github.com/json-iterator/go"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

const maxExportLine = 4 << 20

// queryAPI asks instant queries for range selectors, whose answer is raw samples.
type queryAPI struct{}

func (queryAPI) name() string { return "query API" }

func (queryAPI) note() string {
	return "the query API leaves out staleness markers: a series that ended reads on for five minutes; " +
		"where the server speaks remote read, name its /api/v1/read"
}

func (queryAPI) request(ctx context.Context, base *url.URL, selector []*labels.Matcher, mint, maxt int64) (*http.Request, error) {
	// Prometheus 3 and others leave out the sample at a range's start, Prometheus 2 does not; what is too early is dropped.
	end := int64(math.Ceil(float64(maxt) / 1000))
	width := end*1000 - mint + 1
	return get(ctx, endpoint(base, "api/v1/query", url.Values{
		"query": {fmt.Sprintf("%s[%dms]", selectorText(selector), width)},
		"time":  {strconv.FormatInt(end, 10)},
		// An answer without the samples of a store that is down must be an error: Thanos, and VictoriaMetrics's cluster.
		"partial_response":      {"false"},
		"deny_partial_response": {"1"},
	}))
}

func (queryAPI) decode(answer *http.Response, p *piece) error {
	if err := wantJSON(answer); err != nil {
		return err
	}
	in := jsoniter.Parse(jsoniter.ConfigDefault, answer.Body, 1<<16)
	status, kind := "", ""
	var fault error
	readObject(in, func(key string) bool {
		switch key {
		case "status":
			status = in.ReadString()
		case "isPartial":
			if in.ReadBool() {
				fault = errors.New("the server could read only a part of its samples")
			}
		case "warnings":
			readArray(in, func() bool { p.warn(in.ReadString()); return true })
		case "data":
			kind, fault = readData(in, p)
		default:
			in.Skip()
		}
		return fault == nil
	})
	switch {
	case fault != nil:
		return fault
	case in.Error != nil:
		return cutOff(in.Error)
	case status != "success":
		return fmt.Errorf("%w: status %q", errWrongAnswer, status)
	case kind != "matrix":
		return fmt.Errorf("%w: result type %q in place of matrix", errWrongAnswer, kind)
	}
	return nil
}

func readData(in *jsoniter.Iterator, p *piece) (kind string, fault error) {
	readObject(in, func(key string) bool {
		switch {
		case key == "resultType":
			kind = in.ReadString()
		case key == "result" && in.WhatIsNext() == jsoniter.ArrayValue:
			readArray(in, func() bool {
				fault = readEntry(in, p)
				return fault == nil
			})
		default:
			in.Skip()
		}
		return fault == nil
	})
	return kind, fault
}

// readEntry reads a series: its labels may come after its samples.
func readEntry(in *jsoniter.Iterator, p *piece) (fault error) {
	from := len(p.floats)
	var ls labels.Labels
	readObject(in, func(key string) bool {
		switch key {
		case "metric":
			ls = readMetric(in)
		case "values":
			readArray(in, func() bool {
				fault = readPair(in, p)
				return fault == nil
			})
		case "histograms":
			p.warn("native histograms are left out: the query API rounds them; where the server speaks remote read, name its /api/v1/read")
			in.Skip()
		default:
			in.Skip()
		}
		return fault == nil
	})
	p.assign(from, p.intern(ls))
	return fault
}

func readMetric(in *jsoniter.Iterator) labels.Labels {
	b := labels.NewScratchBuilder(8)
	readObject(in, func(name string) bool {
		b.Add(name, in.ReadString())
		return true
	})
	b.Sort()
	return b.Labels()
}

// readPair reads [seconds, "value"].
func readPair(in *jsoniter.Iterator, p *piece) error {
	n, at, text := 0, 0.0, ""
	readArray(in, func() bool {
		if n++; n == 1 {
			at = in.ReadFloat64()
		} else {
			text = in.ReadString()
		}
		return true
	})
	if in.Error != nil {
		return nil //nolint:nilerr // told by the caller
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || n != 2 {
		return fmt.Errorf("%w: sample value %q", errWrongAnswer, text)
	}
	return p.take(0, sample{t: int64(math.Round(at * 1000)), v: v})
}

// export is VictoriaMetrics's own way: lines of JSON, with staleness markers.
type export struct{}

func (export) name() string { return "VictoriaMetrics export" }

func (export) note() string {
	return "VictoriaMetrics keeps about 15 significant digits of a value: what it was given may have had more"
}

func (export) request(ctx context.Context, base *url.URL, selector []*labels.Matcher, mint, maxt int64) (*http.Request, error) {
	return get(ctx, endpoint(base, "api/v1/export", url.Values{
		"match[]":           {selectorText(selector)},
		"start":             {seconds(mint)},
		"end":               {strconv.FormatInt(int64(math.Ceil(float64(maxt)/1000)), 10)},
		"max_rows_per_line": {"10000"},
		"reduce_mem_usage":  {"1"}, // which also means: samples as they came, none dropped as duplicates
	}))
}

func (export) decode(answer *http.Response, p *piece) error {
	if err := wantJSON(answer); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(answer.Body, maxExportLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return fmt.Errorf("a line of more than %d MiB: %w", maxExportLine>>20, errTooMuch)
		case err != nil:
			return cutOff(noEOF(err))
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := readLine(jsoniter.ParseBytes(jsoniter.ConfigDefault, quoteWords(line)), p); err != nil {
			return err
		}
	}
}

// quoteWords puts quotes about the infinities that VictoriaMetrics 1.79 writes bare among the values.
func quoteWords(line []byte) []byte {
	opening := []byte(`"values":[`) // stands in no label: there a quote has a backslash before it
	before, rest, _ := bytes.Cut(line, opening)
	values, after, _ := bytes.Cut(rest, []byte("]"))
	if !bytes.ContainsAny(values, "IN") {
		return line
	}
	words := bytes.Split(values, []byte(","))
	for n, word := range words {
		if bytes.ContainsAny(word, "IN") && word[0] != '"' {
			words[n] = slices.Concat([]byte(`"`), word, []byte(`"`))
		}
	}
	return slices.Concat(before, opening, bytes.Join(words, []byte(",")), []byte("]"), after)
}

// readLine reads one {"metric":…,"values":[…],"timestamps":[…]}.
func readLine(in *jsoniter.Iterator, p *piece) error {
	var ls labels.Labels
	var values []float64
	var times []int64
	var fault error
	readObject(in, func(key string) bool {
		switch key {
		case "metric":
			ls = readMetric(in)
		case "values":
			readArray(in, func() bool {
				var v float64
				v, fault = readValue(in)
				values = append(values, v)
				return fault == nil
			})
		case "timestamps":
			readArray(in, func() bool { times = append(times, in.ReadInt64()); return true })
		default:
			in.Skip()
		}
		return fault == nil && len(values) <= maxPiece && len(times) <= maxPiece
	})
	switch {
	case fault != nil:
		return fault
	case in.Error != nil:
		return cutOff(in.Error)
	case len(values) != len(times):
		return cutOff(fmt.Errorf("%d values at %d times", len(values), len(times)))
	}
	id := p.intern(ls)
	for n, t := range times {
		if err := p.take(id, sample{t: t, v: values[n]}); err != nil {
			return err
		}
	}
	return nil
}

// readValue reads a number, or what VictoriaMetrics writes where JSON has none: null is a staleness marker, since it
// stores no other NaN.
func readValue(in *jsoniter.Iterator) (float64, error) {
	switch in.WhatIsNext() {
	case jsoniter.NilValue:
		in.ReadNil()
		return math.Float64frombits(value.StaleNaN), nil
	case jsoniter.StringValue:
		text := in.ReadString()
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: sample value %q", errWrongAnswer, text)
		}
		if math.IsNaN(v) {
			v = math.Float64frombits(value.StaleNaN)
		}
		return v, nil
	default:
		v, err := strconv.ParseFloat(string(in.ReadNumber()), 64)
		if err != nil && in.Error == nil {
			return 0, fmt.Errorf("%w: sample value: %w", errWrongAnswer, err)
		}
		return v, nil
	}
}

// readObject calls field for each field of an object. An end of the text inside it stays in in.Error.
func readObject(in *jsoniter.Iterator, field func(key string) bool) {
	in.ReadMapCB(func(in *jsoniter.Iterator, key string) bool { return field(key) && whole(in) })
}

func readArray(in *jsoniter.Iterator, element func() bool) {
	in.ReadArrayCB(func(in *jsoniter.Iterator) bool { return element() && whole(in) })
}

func whole(in *jsoniter.Iterator) bool { return in.Error == nil }
