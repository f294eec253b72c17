// Package slo says what a service promises: objectives, indicators, alerting tiers, error budgets and
// where in the source each was written. It reads no files, speaks no PromQL and imports nothing of ours.
package slo

import (
	"fmt"
	"time"
)

// DefaultWindow is the SLO period of an objective that names none.
const DefaultWindow = 30 * 24 * time.Hour

// DefaultMinFailures is how many failed events must stand in a tier's long window before it may fire,
// where the contract says nothing else.
const DefaultMinFailures = 5

// Objective is one promise of one service. Within a service its Name is unique. Two declarations of the
// same promise in the sources make one Objective with two entries in Declared.
type Objective struct {
	Service     string
	Name        string
	Target      Target        // share of good events, in (0, 1)
	Window      time.Duration // the SLO period the error budget is for
	Indicator   Indicator
	Tenant      Tenant
	Policy      Policy          // the tiers that alert on it
	Record      []time.Duration // windows to record beside those the tiers need
	MinFailures int             // failed events a tier's long window needs before it fires; 0 switches the guard off
	Threshold   *Threshold      // what burnRateThreshold said, if anything
	RunbookURL  string
	Description string
	Declared    []Position // where it is written, in file order; at least one
}

// Source is the first place where the objective is declared.
func (o Objective) Source() Position {
	if len(o.Declared) == 0 {
		return Position{}
	}
	return o.Declared[0]
}

// ID names the objective in messages and as a rule group: service/name.
func (o Objective) ID() string { return o.Service + "/" + o.Name }

// Position is a place in a source file. Line and Col count from 1, Col in UTF-16 units as editors and
// TypeScript do; a zero Line means the file as a whole. File is relative to the scanned directory and
// uses forward slashes.
type Position struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
}

// String prints file:line:col, leaving out what is not known.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Col == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	}
}

// Before orders positions by file, line and column.
func (p Position) Before(q Position) bool {
	if p.File != q.File {
		return p.File < q.File
	}
	if p.Line != q.Line {
		return p.Line < q.Line
	}
	return p.Col < q.Col
}

// Indicator says which events are counted and which of them are bad. The set is closed:
// Availability, Latency and Unnamed.
type Indicator interface{ indicator() }

// Availability counts failed events among all events. Both are PromQL instant vector selectors over
// counters, such as http_requests_total{code=~"5.."}.
type Availability struct {
	Errors string
	Total  string
}

// Latency counts as bad the events slower than Threshold, by a histogram. Metric is the histogram's base
// name, without _bucket; it may carry matchers.
type Latency struct {
	Metric    string
	Threshold time.Duration
	Native    bool // a native histogram: no _bucket series
}

// Unnamed is the indicator of a contract that names no metric. Whoever knows the live series replaces it;
// Instrument tells that the declaration is our own library's, which exports error_budget_events_total.
type Unnamed struct {
	Instrument bool
	Threshold  time.Duration // for a latency SLO; zero means availability
}

func (Availability) indicator() {}
func (Latency) indicator()      {}
func (Unnamed) indicator()      {}

// Tenant says whose events a budget is for. The zero value is one budget over all events.
type Tenant struct {
	Static  string // one tenant, pinned by the source
	Dynamic string // a source expression such as context.tenantId: one budget per value of the label
	Label   string // the tenant label's name; empty means: to be found from live series
}

// IsZero reports whether the contract says nothing about tenants.
func (t Tenant) IsZero() bool { return t == Tenant{} }
