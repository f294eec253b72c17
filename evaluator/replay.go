package evaluator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// ReplayOptions says how rule groups are replayed. Start and End must be set; all else may be zero.
type ReplayOptions struct {
	Start, End time.Time     // the first and the last moment at which a group may be evaluated
	Interval   time.Duration // of groups that name none; one minute if zero
	Lookback   time.Duration // how long an instant selector looks back; five minutes if zero

	// File is the rule file's path as the rule manager would know it: with a group's name it decides at which
	// moment of each interval the group is evaluated.
	File string
	// AtStart evaluates every group at Start, Start+interval and so on, as promtool test rules does, in place of
	// the slots that the rule manager gives to each group.
	AtStart bool

	ExternalLabels labels.Labels // for templates in alert labels
	ExternalURL    *url.URL      // likewise

	// Reference replays through upstream's rule groups, tick by tick: slow, and what all else is measured by.
	Reference bool
	// PartitionBy names a label (the tenant's). Groups whose rules never mix two values of it are cut by value,
	// so that memory does not grow with the number of values. Groups that do mix them are replayed whole.
	PartitionBy string
	// PartSize bounds, in bytes, what one part is expected to need, and so how many values of PartitionBy it has; at
	// least one. Each worker holds one part at a time. 48 MiB if zero.
	PartSize int
	// Parallelism is how many parts are worked on at once; GOMAXPROCS if zero.
	Parallelism int
	// MaxSamples bounds what one query of the PromQL engine may load, where the engine is needed; 50 million if zero.
	MaxSamples int

	// Sink receives the outcomes, one call at a time, in an order that depends on the input alone. What it is
	// given is valid until it returns. If nil, all outcomes are collected in Replayed.
	Sink func(*Outcome) error
	// Operands asks for the operands of alert expressions that compare with constants (see Sweep).
	Operands bool
	// Progress is told, one call at a time, how many parts are done and how many there are.
	Progress func(done, total int)
	Logger   *slog.Logger
}

// Replayed says how a replay went.
type Replayed struct {
	Outcomes []*Outcome   // only where ReplayOptions.Sink is nil
	Rules    []RuleReport // one for each rule, in the order of the files
	Samples  int64        // how many samples of the history were decoded for columns
	Parts    int          // into how many parts the work was cut
	Warnings []string     // what the history warned of, once each
}

// RuleReport says how one rule was evaluated, and why not in columns where it was not.
type RuleReport struct {
	Group, Rule string
	Index       int // of the rule in its group
	Method      Method
	Reason      string
}

// Method is a way to evaluate a rule. All yield the same bits; they differ in speed.
type Method int

// From the fastest to the slowest.
const (
	Columnar Method = iota // in columns, without the PromQL engine
	Ranged                 // by range queries of the PromQL engine, over columns where they can take a call's place
	Ticked                 // by an instant query of the PromQL engine for every tick
	Grouped                // by upstream's rule groups, tick by tick: the reference
)

// String names the method as reports print it.
func (m Method) String() string {
	switch m {
	case Columnar:
		return "columns"
	case Ranged:
		return "range queries"
	case Ticked:
		return "instant queries"
	case Grouped:
		return "rule groups"
	}
	panic(fmt.Sprintf("evaluator: method %d", int(m)))
}

// Ticks are the moments at which a group is evaluated: Start, Start+Interval and so on, N of them.
type Ticks struct {
	Start    time.Time
	Interval time.Duration
	N        int
}

// At is the moment of tick i.
func (t Ticks) At(i int) time.Time { return t.Start.Add(time.Duration(i) * t.Interval) }

// Outcome is what one rule group yields for one part of the history.
type Outcome struct {
	Group     int // index into the replayed groups
	Name      string
	Ticks     Ticks
	Partition []string // the values of ReplayOptions.PartitionBy in this part; nil if the group was not cut
	Rules     []RuleOutcome
	// Oldest and Newest are the first and last sample of the history that the group's columns were made of;
	// zero where none was read, or none in columns.
	Oldest, Newest time.Time
}

// RuleOutcome is what one rule yields. Either Columns or Episodes is set, as the rule records or alerts.
type RuleOutcome struct {
	Index    int
	Record   string
	Alert    string
	Columns  []Column  // what was recorded, sorted by labels; without series that never had a value
	Episodes []Episode // sorted by labels, then by time
	Failures []Failure // the ticks at which the evaluation failed, with their errors
	Sweep    *Sweep    // only if asked for, and if the alert's expression can be swept
}

// Column is one series with one value for each tick. Where the series has no value, Absent says so.
type Column struct {
	Labels labels.Labels
	Values []float64
	// Histograms holds the native histograms by tick; nil if the series has none. The value of a tick that has a
	// histogram is zero.
	Histograms map[int]*histogram.FloatHistogram
}

// Failure is a tick at which a rule could not be evaluated: live, its health would be bad and nothing be written.
type Failure struct {
	Tick int
	Err  string
}

// Episode is one life of one alert: from the tick at which its condition was first met to the tick at which it
// was let go.
type Episode struct {
	Labels     labels.Labels
	ActiveAt   time.Time
	FiredAt    time.Time // zero if it never fired
	ResolvedAt time.Time // the first tick at which it was no longer active; zero if it was at the end
	Value      float64   // when it fired, or, if it never did, when it was last seen
	Peak       float64   // the largest value it had, NaN if it had none but NaN
}

// defaults of ReplayOptions.
const (
	defaultInterval   = time.Minute
	defaultLookback   = 5 * time.Minute
	defaultPartSize   = 48 << 20
	defaultMaxSamples = 50_000_000
	queryTimeout      = 24 * time.Hour
)

var (
	errNoEnd    = errors.New("replay needs a start and an end")
	errBackward = errors.New("replay ends before it starts")
)

// Replay evaluates rule groups over history as the rule manager would have done live at every tick between
// o.Start and o.End: recordings feed the later rules of their tick and the lookback of later ticks, alerts run
// through for and keep_firing_for, and series that vanish go stale.
//
// Replayed recordings stand in for those in the history: a series that a replayed rule could have written is
// hidden there. No alert is active at the start. Where several series are added up, they come sorted by labels,
// as they do from a storage of more than one block; live, a Prometheus whose samples are all in its head may add
// them in the order of their creation, and so differ in the last bit.
//
// NaN results are equal whatever their bits: upstream's own depend on how a compiler orders operands.
func Replay(ctx context.Context, groups *rulefmt.RuleGroups, history storage.Queryable, o ReplayOptions) (*Replayed, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	specs, err := specify(groups, o)
	if err != nil {
		return nil, err
	}
	r := newReplay(specs, history, o)
	if err := r.run(ctx); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	return r.report(), nil
}

func (o ReplayOptions) withDefaults() (ReplayOptions, error) {
	switch {
	case o.Start.IsZero() || o.End.IsZero():
		return o, errNoEnd
	case o.End.Before(o.Start):
		return o, errBackward
	}
	o.Interval = orDefault(o.Interval, defaultInterval)
	o.Lookback = orDefault(o.Lookback, defaultLookback)
	o.PartSize = orDefault(o.PartSize, defaultPartSize)
	o.Parallelism = orDefault(o.Parallelism, runtime.GOMAXPROCS(0))
	o.MaxSamples = orDefault(o.MaxSamples, defaultMaxSamples)
	if o.Logger == nil {
		o.Logger = promslog.NewNopLogger()
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{}
	}
	return o, nil
}

func orDefault[T int | time.Duration](v, fallback T) T {
	if v <= 0 {
		return fallback
	}
	return v
}

// engine builds a PromQL engine as Prometheus runs it. Every part of a replay has its own.
func (o ReplayOptions) engine() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples:               o.MaxSamples,
		Timeout:                  queryTimeout,
		LookbackDelta:            o.Lookback,
		NoStepSubqueryIntervalFn: func(int64) int64 { return o.Interval.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
	})
}
