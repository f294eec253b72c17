package tsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// DefaultParallelism is how many pieces of a remote history are asked for at a time.
const DefaultParallelism = 2

// ErrNotServed is wrapped by the errors of a server that has no such endpoint.
var ErrNotServed = errors.New("the server does not serve this")

// RemoteOptions of OpenRemote. The zero value works.
type RemoteOptions struct {
	Logger *slog.Logger
	// Client asks, with whatever authentication the server wants; http.DefaultClient if nil.
	Client *http.Client
	// Parallelism is how many pieces are asked for at a time, DefaultParallelism if zero.
	Parallelism int
	// TempDir is where samples are kept until the History is closed, os.TempDir if empty.
	TempDir string
	// Cache is a directory where samples are kept for the next Fetch, which then asks for what is missing. Empty for none.
	Cache string
	// Identity tells apart what one URL answers to different askers, such as the tenants of a Mimir. It names no secret.
	Identity string
	// Progress, which may be nil, is told how many seconds of how many have been fetched.
	Progress func(done, total int)
}

func (o RemoteOptions) withDefaults() RemoteOptions {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	if o.Parallelism <= 0 {
		o.Parallelism = DefaultParallelism
	}
	if o.TempDir == "" {
		o.TempDir = os.TempDir()
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	return o
}

// Remote is a server that has samples: a Prometheus, or what speaks its remote read or query API. Its methods may be
// called at once.
type Remote struct {
	base     *url.URL
	protocol protocol
	opts     RemoteOptions
	patience patience
}

// protocol is a way to ask a server for samples. Times are milliseconds, both ends inclusive.
type protocol interface {
	name() string
	request(ctx context.Context, base *url.URL, selector []*labels.Matcher, mint, maxt int64) (*http.Request, error)
	// decode hands the samples of an answer to p. An answer that ends too early is an error.
	decode(answer *http.Response, p *piece) error
	// note is what a person must know of samples that came this way; it may be empty.
	note() string
}

// protocols are those we speak, the one that brings most first.
func protocols() []protocol { return []protocol{remoteRead{}, export{}, queryAPI{}} }

// OpenRemote finds out how the server at address is to be asked. An address that ends in /api/v1/read, /api/v1/export
// or /api/v1/query says so itself; of any other the path is a prefix that is kept.
func OpenRemote(ctx context.Context, address string, o RemoteOptions) (*Remote, error) {
	base, err := url.Parse(address)
	if err != nil { // it repeats the address, and with it a password
		return nil, errors.New("open history: the address is no URL: write http://host:port")
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("open history %s: not an http or https address of a server", redacted(base))
	}
	r := &Remote{base: base, opts: o.withDefaults(), patience: defaultPatience()}
	candidates := protocols()
	for suffix, p := range map[string]protocol{
		"/api/v1/read": remoteRead{}, "/api/v1/export": export{}, "/api/v1/query": queryAPI{}, "/api/v1/query_range": queryAPI{},
	} {
		if prefix, ok := strings.CutSuffix(strings.TrimRight(base.Path, "/"), suffix); ok {
			base.Path, base.RawPath, candidates = prefix, "", []protocol{p}
			break
		}
	}
	if err := r.probe(ctx, candidates); err != nil {
		return nil, fmt.Errorf("open history %s: %w", redacted(base), err)
	}
	return r, nil
}

// probe asks for a series that nobody has, in one way after the other. A refusal that any of them would meet ends it.
func (r *Remote) probe(ctx context.Context, candidates []protocol) error {
	var errs []error
	hasty := *r
	hasty.patience.tries = 3
	nothing := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "slowburn_probe")}
	for _, p := range candidates {
		err := hasty.ask(ctx, p, nothing, &piece{sorter: newSorter("", 0, 0), span: span{0, time.Minute.Milliseconds() - 1}})
		if err == nil {
			r.protocol = p
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.name(), err))
		if a, ok := errors.AsType[*answerError](err); !ok || a.forAll() {
			return err
		}
	}
	return errors.Join(errs...)
}

// Protocol names the way the server is asked.
func (r *Remote) Protocol() string { return r.protocol.name() }

// Metrics lists the names of the metrics between mint and maxt, in milliseconds. The error wraps ErrNotServed where
// the server can only be read.
func (r *Remote) Metrics(ctx context.Context, mint, maxt int64) ([]string, error) {
	return r.list(ctx, "api/v1/label/"+labels.MetricName+"/values", mint, maxt, nil)
}

// LabelNames lists the names of the labels that a metric has between mint and maxt.
func (r *Remote) LabelNames(ctx context.Context, metric string, mint, maxt int64) ([]string, error) {
	m := labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, metric)
	return r.list(ctx, "api/v1/labels", mint, maxt, url.Values{"match[]": {selectorText([]*labels.Matcher{m})}})
}

func (r *Remote) list(ctx context.Context, path string, mint, maxt int64, values url.Values) ([]string, error) {
	if values == nil {
		values = url.Values{}
	}
	values.Set("start", seconds(mint))
	values.Set("end", seconds(maxt+999))
	var list struct {
		Status string
		Data   []string
	}
	build := func() (*http.Request, error) { return get(ctx, endpoint(r.base, path, values)) }
	err := r.do(ctx, build, func(answer *http.Response) error {
		if err := wantJSON(answer); err != nil {
			return err
		}
		if err := json.NewDecoder(answer.Body).Decode(&list); err != nil {
			return cutOff(err)
		}
		if list.Status != "success" {
			return fmt.Errorf("status %q in the answer", list.Status)
		}
		return nil
	})
	return list.Data, err
}

// endpoint is a path below the base, with the base's own query kept.
func endpoint(base *url.URL, path string, values url.Values) *url.URL {
	u := *base
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+"/"+path, ""
	query := u.Query()
	maps.Copy(query, values)
	u.RawQuery, u.Fragment = query.Encode(), ""
	return &u
}

func get(ctx context.Context, u *url.URL) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
}

// redacted is a URL without what may be secret: the password, and the values of the query.
func redacted(u *url.URL) string {
	shown := *u
	shown.RawQuery = ""
	if shown.User != nil {
		shown.User = url.User("redacted")
	}
	return shown.String()
}

// seconds prints whole seconds, rounded down: some servers lose a millisecond in fractions.
func seconds(ms int64) string { return strconv.FormatInt(int64(math.Floor(float64(ms)/1000)), 10) }

// selectorText writes matchers as a PromQL selector.
func selectorText(matchers []*labels.Matcher) string {
	var all []string
	for _, m := range matchers {
		all = append(all, m.String())
	}
	slices.Sort(all)
	return "{" + strings.Join(slices.Compact(all), ",") + "}"
}
