package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/tsdb"
)

// askedPeriod is how much is fetched of a server where no start is named.
const askedPeriod = slo.DefaultWindow

// remoteSettings is what flags say of asking a server for its history.
type remoteSettings struct {
	httpConfig string
	cache      string
	parallel   int
}

func (s *remoteSettings) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.httpConfig, "history-http-config", "", "Prometheus HTTP client configuration (basic_auth, authorization, tls_config, http_headers …) for a history that is a URL")
	f.StringVar(&s.cache, "history-cache", "", "keep what is fetched of a history that is a URL in this directory, and fetch only what is missing there")
	f.IntVar(&s.parallel, "history-parallel", tsdb.DefaultParallelism, "requests at a time to a history that is a URL")
}

func isServer(history string) bool {
	return strings.HasPrefix(history, "http://") || strings.HasPrefix(history, "https://")
}

// connect finds out how the server at address is asked, within which a bar on w shows the progress of fetching.
func (s *remoteSettings) connect(ctx context.Context, address string, w io.Writer) (*tsdb.Remote, error) {
	o := tsdb.RemoteOptions{Cache: s.cache, Parallelism: s.parallel}
	if s.httpConfig != "" {
		config, _, err := promconfig.LoadHTTPConfigFile(s.httpConfig)
		if err == nil {
			err = config.Validate()
		}
		if err == nil {
			o.Client, err = promconfig.NewClientFromConfig(*config, "slowburn")
		}
		if err != nil {
			return nil, fmt.Errorf("--history-http-config %s: %w", s.httpConfig, err)
		}
		o.Identity = identity(config)
	} else {
		o.Client = &http.Client{}
	}
	bar := startBar(w, "fetch")
	o.Progress = func(done, total int) {
		if bar.update(done, total); done == total {
			bar.finish()
		}
	}
	return tsdb.OpenRemote(ctx, address, o)
}

// identity is what of a configuration decides whose samples are answered, but for the secrets.
func identity(c *promconfig.HTTPClientConfig) string {
	var all []string
	if c.BasicAuth != nil {
		all = append(all, "user="+c.BasicAuth.Username)
	}
	if c.HTTPHeaders != nil {
		for name, header := range c.HTTPHeaders.Headers {
			all = append(all, http.CanonicalHeaderKey(name)+"="+strings.Join(header.Values, ","))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// openHistory opens what --history names, by what it is. All that a server has is too much: see openFor.
func openHistory(ctx context.Context, path string) (*tsdb.History, error) {
	if isServer(path) {
		return nil, errors.New("--history: a URL is of no use here: import it, and name the data directory")
	}
	h, err := openFiles(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("--history: %w", err)
	}
	return h, nil
}

// openFiles opens a directory of blocks, or an OpenMetrics file.
func openFiles(ctx context.Context, path string) (*tsdb.History, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return tsdb.OpenHistory(path, tsdb.HistoryOptions{})
	}
	return tsdb.ReadOpenMetrics(ctx, path, tsdb.HistoryOptions{})
}

// collectSooner halves the garbage that a replay lets gather, unless GOGC says otherwise. Most of its heap is columns that
// are used again and hold no pointers, so that to collect twice as often costs little.
func collectSooner() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// openFor opens the history of --history. Of a server it fetches the series that the rules of the contracts below dir, and
// those of --against, read.
func (s *backtestSettings) openFor(ctx context.Context, w *workspace, stderr io.Writer) (*tsdb.History, error) {
	collectSooner()
	if !isServer(s.history) {
		return openHistory(ctx, s.history)
	}
	remote, err := s.remote.connect(ctx, s.history, stderr)
	if err != nil {
		return nil, fmt.Errorf("--history: %w", err)
	}
	for _, step := range []func(context.Context) error{w.readTopology, w.readContract} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	start, end := s.options.Start, s.options.End
	if end.IsZero() {
		end = time.Now()
	}
	if start.IsZero() {
		start = end.Add(-askedPeriod)
	} else {
		start = start.Add(-lookback(w.objectives)) // so that the first evaluation has its windows full
	}
	selectors, err := s.selectors(ctx, remote, w.objectives, start.UnixMilli(), end.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("--history: %w", err)
	}
	h, err := remote.Fetch(ctx, selectors, start.UnixMilli(), end.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("--history: %w", err)
	}
	return h, nil
}

// lookback is the longest window that any rule of the objectives reads.
func lookback(objectives []slo.Objective) time.Duration {
	longest := time.Hour
	for _, o := range objectives {
		for _, t := range o.Policy.Tiers {
			longest = max(longest, t.Long)
		}
		longest = max(longest, slices.Max(append(o.Record, 0)))
	}
	return longest
}

// selectors is what the rules read. A server that can't list its metrics is asked for all that the contracts may mean.
func (s *backtestSettings) selectors(ctx context.Context, remote *tsdb.Remote, objectives []slo.Objective, mint, maxt int64) ([][]*labels.Matcher, error) {
	candidates := rulegen.Candidates(objectives)
	selectors, err := s.deployedReads()
	if err != nil {
		return nil, err
	}
	catalog, err := remoteCatalog(ctx, remote, candidates, mint, maxt)
	if errors.Is(err, tsdb.ErrNotServed) {
		return append(selectors, []*labels.Matcher{candidates}), nil
	}
	if err != nil {
		return nil, err
	}
	resolved, _ := rulegen.Resolve(objectives, catalog) // the findings are told when the history is there
	for _, o := range resolved {
		reads, err := rulegen.ReadsOf(o, rulegen.Options{ServiceLabel: s.read.serviceLabel})
		if err != nil {
			return nil, err
		}
		for _, one := range [][]*labels.Matcher{reads.Total, reads.Errors, reads.Good} {
			if len(one) > 0 {
				selectors = append(selectors, one)
			}
		}
	}
	if len(selectors) == 0 { // nothing of what is promised is there: which the verdict on an empty history says
		selectors = append(selectors, []*labels.Matcher{candidates})
	}
	return selectors, nil
}

// remoteCatalog lists a server's metrics, and the labels of those that count.
func remoteCatalog(ctx context.Context, remote *tsdb.Remote, candidates *labels.Matcher, mint, maxt int64) (rulegen.Catalog, error) {
	names, err := remote.Metrics(ctx, mint, maxt)
	if err != nil {
		return nil, err
	}
	catalog := rulegen.Catalog{}
	for _, name := range names {
		if !candidates.Matches(name) {
			continue
		}
		if catalog[name], err = remote.LabelNames(ctx, name, mint, maxt); err != nil {
			return nil, err
		}
	}
	return catalog, nil
}

// deployedReads is what the rules of --against read, but for what they record themselves.
func (s *backtestSettings) deployedReads() ([][]*labels.Matcher, error) {
	if s.against == "" {
		return nil, nil
	}
	groups, faults := rulefmt.ParseFile(s.against, false, model.UTF8Validation, parser.NewParser(parser.Options{}), demoted(s.read.logger))
	if len(faults) > 0 {
		return nil, fmt.Errorf("--against: %w", errors.Join(faults...))
	}
	recorded := map[string]bool{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			recorded[r.Record] = true
		}
	}
	var selectors [][]*labels.Matcher
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			if err != nil {
				return nil, fmt.Errorf("--against: %w", err)
			}
			parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
				if v, ok := n.(*parser.VectorSelector); ok && !recorded[v.Name] {
					selectors = append(selectors, v.LabelMatchers)
				}
				return nil
			})
		}
	}
	return selectors, nil
}

// startBar shows a bar where a person looks on.
func startBar(w io.Writer, what string) *progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions(-1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))}
}
