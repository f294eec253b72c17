package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/spf13/cobra"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/tsdb"
)

const (
	// importCache is where in the data directory lies what was fetched of a server, until all is imported.
	importCache = "import.fetched"
	// importAhead is how far a sample may lie in the future: clocks differ.
	importAhead = time.Hour
)

// importSettings is what the flags of import say.
type importSettings struct {
	remote     remoteSettings
	dataDir    string
	start, end string
	match      []string
	from, to   time.Time // of start and end
	selectors  [][]*labels.Matcher
	now        time.Time
}

// importReport is what import prints.
type importReport struct {
	DataDir string    `json:"data_dir"`
	Series  int       `json:"series"`
	Samples int64     `json:"samples"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Notes   []string  `json:"notes,omitempty"`
}

func newImport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import HISTORY",
		Short: "Put a history into the embedded database",
		Long: `import copies samples into the data directory of slowburn serve, which must not be running on it. HISTORY is a directory
of Prometheus blocks (with or without write-ahead log; nothing in it is changed), an OpenMetrics file (also .gz), or the
URL of a server: Prometheus, Thanos, Mimir, VictoriaMetrics, or what else speaks remote read or the query API.

Either all is imported or nothing. Samples that are there already are kept once, so that a history may be imported
again, and overlap with what is there. Of a server the last 30 days are fetched if --start says nothing else; what was
fetched before a stop is kept in the data directory, and the same command goes on from there.
Exit status: 0 imported, 2 could not.`,
		Example: `  slowburn import /var/lib/prometheus --data-dir data
  slowburn import metrics.om.gz --data-dir data --start 2026-01-01T00:00:00Z
  slowburn import http://prometheus:9090 --data-dir data --match 'http_requests_total{job="shop"}'
  slowburn import https://mimir/prometheus --data-dir data --history-http-config mimir.yml`,
		Args: cobra.ExactArgs(1),
	}
	s := &importSettings{}
	f := cmd.Flags()
	f.StringVar(&s.dataDir, "data-dir", "data", "directory of the embedded database")
	f.StringVar(&s.start, "start", "", "leave out what is older, Unix seconds or RFC 3339")
	f.StringVar(&s.end, "end", "", "leave out what is younger")
	f.StringArrayVar(&s.match, "match", nil, "import the series that this selector matches, such as up{job=\"api\"}; may be given again (default: all)")
	s.remote.addFlags(cmd)
	addOutput(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := outputForm(cmd)
		if err != nil {
			return err
		}
		s.now = time.Now()
		return s.run(cmd, args[0], form)
	}
	return cmd
}

func (s *importSettings) run(cmd *cobra.Command, history, form string) error {
	if err := s.settle(); err != nil {
		return err
	}
	if err := tsdb.Free(s.dataDir); err != nil { // before hours are spent on fetching
		return fmt.Errorf("%w: stop what runs there", err)
	}
	h, err := s.open(cmd.Context(), history, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	done, err := s.copy(cmd.Context(), h, history, cmd.ErrOrStderr())
	notes := slices.Concat(h.Damaged(), h.Notes())
	if err := errors.Join(err, h.Close()); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(s.dataDir, importCache)); err != nil {
		return fmt.Errorf("remove what was fetched: %w", err)
	}
	if age := s.now.Sub(time.UnixMilli(done.Mint)); age > tsdb.DefaultRetention {
		notes = append(notes, fmt.Sprintf("the oldest samples are %d days old: serve deletes them but for a longer --retention", int(age.Hours()/24)))
	}
	return s.print(cmd.OutOrStdout(), form, importReport{
		DataDir: s.dataDir, Series: done.Series, Samples: done.Samples,
		Start: time.UnixMilli(done.Mint).UTC(), End: time.UnixMilli(done.Maxt).UTC(), Notes: notes,
	})
}

// settle reads what the flags spell; it reports all faults.
func (s *importSettings) settle() error {
	var faults []error
	for _, one := range []struct {
		flag, text string
		to         *time.Time
	}{{"--start", s.start, &s.from}, {"--end", s.end, &s.to}} {
		if one.text == "" {
			continue
		}
		var err error
		if *one.to, err = backtest.ParseTime(one.text); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", one.flag, err))
		}
	}
	if s.start != "" && s.end != "" && len(faults) == 0 && s.to.Before(s.from) {
		faults = append(faults, fmt.Errorf("--end %s is before --start %s", s.end, s.start))
	}
	for _, text := range s.match {
		matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("--match %q: %w", text, err))
			continue
		}
		s.selectors = append(s.selectors, matchers)
	}
	if s.remote.parallel < 1 {
		faults = append(faults, fmt.Errorf("--history-parallel %d is below 1", s.remote.parallel))
	}
	return errors.Join(faults...)
}

// open opens a history; of a server it fetches it.
func (s *importSettings) open(ctx context.Context, history string, stderr io.Writer) (*tsdb.History, error) {
	if !isServer(history) {
		h, err := openFiles(ctx, history)
		if err != nil {
			return nil, fmt.Errorf("import: %w", err)
		}
		return h, nil
	}
	if s.remote.cache == "" {
		s.remote.cache = filepath.Join(s.dataDir, importCache)
	}
	remote, err := s.remote.connect(ctx, history, stderr)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(stderr, "asking by %s\n", remote.Protocol())
	if s.to.IsZero() {
		s.to = s.now
	}
	if s.from.IsZero() {
		s.from = s.to.Add(-askedPeriod)
	}
	selectors := s.selectors
	if len(selectors) == 0 {
		selectors = [][]*labels.Matcher{{labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+")}}
	}
	return remote.Fetch(ctx, selectors, s.from.UnixMilli(), s.to.UnixMilli())
}

// copy imports what the flags leave of a history.
func (s *importSettings) copy(ctx context.Context, h *tsdb.History, history string, stderr io.Writer) (tsdb.Imported, error) {
	mint, maxt := h.Extent()
	if mint > maxt {
		return tsdb.Imported{}, fmt.Errorf("import %s: it holds no samples", shown(history))
	}
	extent := fmt.Sprintf("it reaches from %s to %s", stamp(mint), stamp(maxt))
	if !s.from.IsZero() {
		mint = max(mint, s.from.UnixMilli())
	}
	if !s.to.IsZero() {
		maxt = min(maxt, s.to.UnixMilli())
	}
	if mint > maxt {
		return tsdb.Imported{}, fmt.Errorf("import %s: nothing of it lies within --start and --end: %s", shown(history), extent)
	}
	if latest := s.now.Add(importAhead).UnixMilli(); maxt > latest {
		return tsdb.Imported{}, fmt.Errorf("import %s: %s, which is in the future: the database would delete older samples for it: set --end %s, or the clock",
			shown(history), extent, s.now.UTC().Format(time.RFC3339))
	}
	bar := startBar(stderr, "import")
	defer bar.finish()
	done, err := tsdb.ImportSelection(ctx, h, tsdb.Selection{Mint: mint, Maxt: maxt, Selectors: s.selectors}, s.dataDir, bar.update)
	if err == nil && done.Samples == 0 {
		err = fmt.Errorf("import %s: no sample matches: %s", shown(history), extent)
	}
	return done, err
}

// shown is a history's name without what may be secret.
func shown(history string) string {
	if isServer(history) {
		return "from the server"
	}
	return history
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

func (s *importSettings) print(w io.Writer, form string, r importReport) error {
	if form == "json" {
		return writeAs(w, form, r)
	}
	days := slo.FormatWindow(r.End.Sub(r.Start).Round(time.Minute))
	fmt.Fprintf(w, "imported into %s: %d series, %d samples, %s from %s to %s\n",
		r.DataDir, r.Series, r.Samples, days, r.Start.Format(time.RFC3339), r.End.Format(time.RFC3339))
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	return nil
}
