// Package backtest replays the alerts of SLO objectives over history and scores them: what they would have paged,
// which incidents they would have found and how fast, what other thresholds would have done, and whether each is
// fit to page anyone. It reads no sources, opens no histories and prints no reports.
package backtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/slowburn/slowburn/slo"
)

// Version is that of the JSON form of a Result.
const Version = 1

// Defaults of Options.
const (
	DefaultMaxPages   = 2.0 // pages a week and tenant that nobody has an incident for
	DefaultThresholds = 240
)

// History is what is replayed: samples, and the times of the first and the last in milliseconds. It must serve
// several queriers at once.
type History interface {
	storage.Queryable
	Extent() (mint, maxt int64)
}

// Options adjusts a back-test. The zero value works.
type Options struct {
	Start, End time.Time // what to replay; the history's extent where zero
	Interval   time.Duration
	// ServiceLabel and its meaning are those of rulegen.Options.
	ServiceLabel string

	Incidents []Incident
	// LabelsComplete says that Incidents holds every incident there was: firings outside them are then false.
	LabelsComplete bool
	// Infer takes for an incident each period in which more than the objective allows was spent, and at least this
	// share of the whole budget. Zero infers none.
	Infer float64
	// MaxPages is how many pages a week and tenant, that no incident explains, a rule may raise and yet be
	// validated. DefaultMaxPages if zero.
	MaxPages float64

	// Search also scores other factors, holds, short windows and guards.
	Search bool
	// Thresholds is how many factors of each tier a search tries; DefaultThresholds if zero.
	Thresholds int

	Parallelism int
	Progress    func(done, total int)
	Logger      *slog.Logger
}

func (o Options) maxPages() float64 {
	if o.MaxPages == 0 {
		return DefaultMaxPages
	}
	return o.MaxPages
}

// Result is what a back-test found.
type Result struct {
	Version    int         `json:"schema_version"`
	Start      time.Time   `json:"start"`
	End        time.Time   `json:"end"`
	Interval   Span        `json:"interval_seconds"`
	Samples    int64       `json:"samples"`
	Verdict    Verdict     `json:"verdict"`
	MaxPages   float64     `json:"max_pages_per_week"`
	SLOs       []SLO       `json:"slos"`
	Injected   []Injected  `json:"injected,omitempty"`
	Comparison *Comparison `json:"comparison,omitempty"`
	Notes      []string    `json:"notes,omitempty"`
}

// SLO is what a back-test found of one objective.
type SLO struct { //nolint:recvcheck // what only reads takes a value
	Service   string         `json:"service"`
	Name      string         `json:"slo"`
	Target    float64        `json:"target"`
	Window    Span           `json:"window_seconds"`
	Declared  []slo.Position `json:"declared"`
	Verdict   Verdict        `json:"verdict"`
	Covered   Span           `json:"covered_seconds"`  // how long any tenant had events
	Reason    string         `json:"reason,omitempty"` // where no tenant can be judged at all
	Score     Score          `json:"score"`            // of pages: tiers that fire together, or for one incident, page once
	Tiers     []Tier         `json:"tiers"`
	Tenants   []Tenant       `json:"tenants"`
	Incidents []Found        `json:"incidents,omitempty"`
	Search    *Search        `json:"search,omitempty"`
	Objective slo.Objective  `json:"-"`
}

// Tier is the score of one tier over all tenants.
type Tier struct {
	Tier       string  `json:"tier"`
	Severity   string  `json:"severity"`
	Factor     float64 `json:"factor"`
	ErrorRatio float64 `json:"error_ratio"`
	Long       Span    `json:"long_seconds"`
	Short      Span    `json:"short_seconds"`
	For        Span    `json:"for_seconds"`
	Score      Score   `json:"score"`
}

// Tenant is what was found of one tenant's events. Its Name is empty where the objective has no tenants.
type Tenant struct {
	Name    string  `json:"tenant"`
	Events  float64 `json:"events"`
	Errors  float64 `json:"errors"`
	Covered Span    `json:"covered_seconds"` // how long there were events
	Window  float64 `json:"window_covered"`  // Covered as a share of the SLO's window, at most 1
	Spent   float64 `json:"budget_spent"`    // of one window's budget, over the whole history
	Floor   float64 `json:"silent_below"`    // no share of failed events below this ever pages; 1 where none does
	Score   Score   `json:"score"`
	Rules   []Rule  `json:"rules"`
}

// Rule is one tier for one tenant: what an alert is validated or held by.
type Rule struct {
	Tier    string   `json:"tier"`
	Verdict Verdict  `json:"verdict"`
	Reasons []string `json:"reasons,omitempty"`
	Covered float64  `json:"window_covered"` // share of the long window that the history covers, at most 1
	Score   Score    `json:"score"`
	Firings []Firing `json:"firings,omitempty"`
}

// Verdict answers whether an alert may page.
type Verdict string

// A rule is validated, or held with reasons. What holds any held rule is held.
const (
	Validated Verdict = "validated"
	Held      Verdict = "held"
)

// Firing is one time an alert fired. Without an End it was firing when the history ended.
type Firing struct {
	Start    time.Time `json:"start"`
	End      time.Time `json:"end,omitzero"`
	Peak     float64   `json:"peak_burn"`
	Kind     Kind      `json:"kind"`
	Cold     bool      `json:"cold,omitempty"` // its long window reached back before the tenant's first events: see Score.Cold
	incident int       // index into the back-test's incidents, or none
}

// Kind says what a firing was for.
type Kind string

// Unlabelled is a firing outside all incidents, where the list of incidents may be incomplete; False, where it is complete.
const (
	ForIncident Kind = "incident"
	Unlabelled  Kind = "unlabelled"
	False       Kind = "false"
)

// ErrNoHistory says that there is nothing to replay.
var ErrNoHistory = errors.New("the history holds no samples")

// Run replays the alerts of objectives, which rulegen.Resolve has settled, over h and scores them.
func Run(ctx context.Context, objectives []slo.Objective, h History, o Options) (*Result, error) {
	t, err := newTrial(objectives, h, o)
	if err != nil {
		return nil, err
	}
	if err := t.replay(ctx, h); err != nil {
		return nil, err
	}
	return t.result(), nil
}

// extent bounds the replay by the history and the options.
func extent(h History, o Options) (start, end time.Time, err error) {
	mint, maxt := h.Extent()
	if maxt < mint {
		return start, end, ErrNoHistory
	}
	start, end = time.UnixMilli(mint).UTC(), time.UnixMilli(maxt).UTC()
	if o.Start.After(start) {
		start = o.Start
	}
	if !o.End.IsZero() && o.End.Before(end) {
		end = o.End
	}
	if end.Before(start) {
		return start, end, fmt.Errorf("nothing to replay: the history ends %s, before %s", end.Format(time.RFC3339), start.Format(time.RFC3339))
	}
	return start, end, nil
}
