package report

import (
	"time"

	"github.com/slowburn/slowburn/slo"
)

// Proof shows whether one alert can fire: what its expression says, and what outages put onto history showed.
type Proof struct {
	Service string       `json:"service,omitempty"`
	SLO     string       `json:"slo,omitempty"`
	Alert   string       `json:"alert"`
	Tier    string       `json:"tier,omitempty"`
	Rules   string       `json:"rules"` // where the alert is from: "generated", or a rule file
	Fires   Answer       `json:"fires"`
	Faults  []string     `json:"faults,omitempty"` // why it can't, or can't be told
	Outages []Outage     `json:"outages,omitempty"`
	Quiet   []string     `json:"quiet_tenants,omitempty"` // that no outage made it fire for
	Fastest *Seconds     `json:"fastest_seconds,omitempty"`
	Slowest *Seconds     `json:"slowest_seconds,omitempty"`
	Source  slo.Position `json:"-"`
}

// Answer is yes, no, or not told.
type Answer string

// What was not tried is Untried, and never counts as Yes.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Untried Answer = "untried"
)

// Outage is how one alert met one outage that was put onto one tenant's history.
type Outage struct {
	Tenant string    `json:"tenant,omitempty"`
	At     time.Time `json:"at"`
	Ratio  float64   `json:"error_ratio"`
	Fired  bool      `json:"fired"`
	Delay  *Seconds  `json:"delay_seconds,omitempty"` // absent where it fired already, or not at all
}

// Burn is how fast one tenant burnt when the history ended.
type Burn struct {
	Service string  `json:"service"`
	SLO     string  `json:"slo"`
	Tenant  string  `json:"tenant,omitempty"`
	Window  Seconds `json:"window_seconds"`
	Rate    float64 `json:"burn_rate"`
	Above   float64 `json:"threshold"`
}

// Coverage is one promise of one service and what comes of its alert: blanks are where nobody is told.
type Coverage struct {
	Service   string   `json:"service"`
	SLO       string   `json:"slo,omitempty"`
	Tier      string   `json:"tier,omitempty"`
	Severity  string   `json:"severity,omitempty"`
	Tenant    string   `json:"tenant,omitempty"` // where tenants take different routes
	Alert     string   `json:"alert,omitempty"`
	Route     string   `json:"route,omitempty"`
	Receivers []string `json:"receivers,omitempty"`
	State     Told     `json:"state"`
}

// Told says how far an alert comes.
type Told string

// From the whole way to none of it.
const (
	Reaches    Told = "reaches a receiver"
	NoReceiver Told = "reaches nobody"
	NoRoute    Told = "route unknown" // no Alertmanager configuration was there to read
	NoAlert    Told = "no alert"
	NoSLO      Told = "no SLO"
)

// Cardinality is a forecast of series, made from label sets that were seen.
type Cardinality struct {
	At        time.Time `json:"at"` // the moment whose series were counted
	Limit     int       `json:"limit"`
	Scraped   int       `json:"scraped"`    // series there now, whatever reads them
	Recorded  int       `json:"recorded"`   // that the rules will write
	Alerts    int       `json:"alerts"`     // ALERTS and ALERTS_FOR_STATE, while all fire
	Total     int       `json:"total"`      // of the three
	Tenants   int       `json:"tenants"`    // seen
	PerTenant int       `json:"per_tenant"` // series that one more tenant adds
	Room      int       `json:"room"`       // tenants that fit below the limit besides

	SLOs     []SLOSeries    `json:"slos"`
	ByTenant []TenantSeries `json:"tenants_by_series,omitempty"` // the largest
	Savings  []Saving       `json:"savings,omitempty"`
	Cost     Cost           `json:"cost"`
}

// SLOSeries is what one objective reads and writes.
type SLOSeries struct {
	Service   string `json:"service"`
	SLO       string `json:"slo"`
	Tenants   int    `json:"tenants"`
	Scraped   int    `json:"scraped"`
	Recorded  int    `json:"recorded"`
	Alerts    int    `json:"alerts"`
	PerTenant int    `json:"per_tenant"`
}

// TenantSeries is what one tenant takes.
type TenantSeries struct {
	Tenant  string `json:"tenant"`
	Scraped int    `json:"scraped"`
	Written int    `json:"written"` // recorded, and of alerts
}

// Saving is something that nothing reads, and the series its loss would save.
type Saving struct {
	Drop   string `json:"drop"`
	Series int    `json:"series"`
	Why    string `json:"why"`
}

// Cost is what evaluating the rules takes, by the engine's own statistics.
type Cost struct {
	Samples int64      `json:"samples_per_tick"` // touched when all rules are evaluated once
	Seconds Seconds    `json:"seconds_per_tick"` // that it took here
	Rules   []RuleCost `json:"rules,omitempty"`  // the dearest
	Notes   []string   `json:"notes,omitempty"`  // rules that are not in it, and why
}

// RuleCost is one rule's.
type RuleCost struct {
	Group   string  `json:"group"`
	Rule    string  `json:"rule"`
	Samples int64   `json:"samples"`
	Seconds Seconds `json:"seconds"`
}

// Detection sets the rules that are deployed beside those that the contract becomes, on the same incidents.
type Detection struct {
	Rules     string   `json:"rules"`     // those deployed
	Incidents string   `json:"incidents"` // labelled, inferred or injected
	Old       *Seconds `json:"old_median_seconds,omitempty"`
	New       *Seconds `json:"new_median_seconds,omitempty"`
	OldFound  int      `json:"old_found"`
	NewFound  int      `json:"new_found"`
	Faster    int      `json:"faster"`
	Duels     []Duel   `json:"duels"`
}

// Duel is one incident under both sets of rules; a side without a delay did not find it, or was firing before.
type Duel struct {
	Service string    `json:"service"`
	SLO     string    `json:"slo"`
	Tenant  string    `json:"tenant,omitempty"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Ratio   float64   `json:"error_ratio,omitempty"` // of an injected outage
	Old     Side      `json:"old"`
	New     Side      `json:"new"`
}

// Side is how one set of rules met an incident.
type Side struct {
	Found bool     `json:"found"`
	Delay *Seconds `json:"delay_seconds,omitempty"`
	Alert string   `json:"alert,omitempty"`
}

// Revision is what changes in alerts between a git revision and the tree, over the same history.
type Revision struct {
	Base            string   `json:"base"`
	Commit          string   `json:"commit"`
	Before          Standing `json:"before"`
	After           Standing `json:"after"`
	Contract        []string `json:"contract,omitempty"` // what the sources promise otherwise
	PagesGained     []Page   `json:"pages_gained,omitempty"`
	PagesLost       []Page   `json:"pages_lost,omitempty"`
	IncidentsGained []Duel   `json:"incidents_gained,omitempty"`
	IncidentsLost   []Duel   `json:"incidents_lost,omitempty"`
	Detection       []Duel   `json:"detection,omitempty"` // incidents that are found sooner or later than before
	Notes           []string `json:"notes,omitempty"`
}

// Standing is how the alerts of one revision did.
type Standing struct {
	SLOs      int      `json:"slos"`
	Alerts    int      `json:"alerts"`
	Pages     int      `json:"pages"`
	Incidents int      `json:"incidents"`
	Found     int      `json:"found"`
	Recall    *float64 `json:"recall,omitempty"` // absent without incidents
	Delay     *Seconds `json:"median_delay_seconds,omitempty"`
	Series    int      `json:"series"`
	Samples   int64    `json:"samples_per_tick"`
}

// Page is one time somebody was called.
type Page struct {
	Service string    `json:"service"`
	SLO     string    `json:"slo,omitempty"`
	Tenant  string    `json:"tenant,omitempty"`
	Alert   string    `json:"alert"`
	Start   time.Time `json:"start"`
	End     time.Time `json:"end,omitzero"` // absent where it lasted to the end of the history
}
