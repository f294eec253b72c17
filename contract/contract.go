// Package contract reads the SLOs written in TypeScript and JavaScript sources: tags, decorators and
// constructors become declarations with their values resolved, and declarations become slo objectives. It
// guesses nothing: what can't be resolved is a finding at its place. It runs no code, checks no types and
// reads nothing outside the given directory.
package contract

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"sync"

	"github.com/slowburn/slowburn/slo"
)

// Options says how to scan. The zero value works.
type Options struct {
	Logger       *slog.Logger
	Workers      int   // files looked at once; 0 means GOMAXPROCS
	MaxFileBytes int64 // 0 means DefaultMaxFileBytes
}

// Result is what a directory declares. Findings are about files and comments; those about declarations come
// from Objectives, so that none is said twice. Both lists honour the suppressions in the sources.
type Result struct {
	Declarations []Declaration `json:"declarations"`
	Findings     []slo.Finding `json:"findings"`
	Stats        Stats         `json:"stats"`

	suppressions []suppression
}

// Stats counts what a scan did.
type Stats struct {
	Files      int            `json:"files"`      // source files found
	Candidates int            `json:"candidates"` // of these, with a word that a declaration needs
	Parsed     int            `json:"parsed"`     // of these, parsed for declarations
	Skipped    map[string]int `json:"skipped"`    // what was not looked at, by reason
}

// Declaration is one SLO as one place in the sources states it. The fields up to Error are what the place
// says; those after it are what slowburn knows besides.
type Declaration struct {
	File              string            `json:"file"`
	Line              int               `json:"line"`
	Col               int               `json:"col"`
	Kind              string            `json:"kind"` // call, decorator or jsdoc
	Symbol            string            `json:"symbol,omitempty"`
	SLOTarget         *float64          `json:"sloTarget,omitempty"`
	BurnRateThreshold *float64          `json:"burnRateThreshold,omitempty"`
	Tenant            *Tenant           `json:"tenant,omitempty"`
	RecordingRules    []string          `json:"recordingRules,omitempty"`
	Window            string            `json:"window,omitempty"`
	Service           string            `json:"service,omitempty"`
	Env               map[string]string `json:"env,omitempty"` // field → the variable whose default it is
	Error             string            `json:"error,omitempty"`
	Field             string            `json:"field,omitempty"`
	Values            []any             `json:"values,omitempty"` // of an ambiguous field

	Name           string         `json:"name,omitempty"`
	Metric         string         `json:"metric,omitempty"`
	Errors         string         `json:"errors,omitempty"`
	Total          string         `json:"total,omitempty"`
	Threshold      string         `json:"threshold,omitempty"` // of a latency SLO
	TenantLabel    string         `json:"tenantLabel,omitempty"`
	MinFailures    *int           `json:"minFailures,omitempty"`
	Policy         string         `json:"policy,omitempty"`
	Runbook        string         `json:"runbook,omitempty"`
	Description    string         `json:"description,omitempty"`
	AlertThreshold *slo.Threshold `json:"alertThreshold,omitempty"` // burnRateThreshold with its unit
	Package        string         `json:"package,omitempty"`        // the nearest package.json's name
	Faults         []Fault        `json:"faults,omitempty"`         // every error, the first of which is Error

	said    said
	endLine int
	steps   []Step
}

// Tenant says whose events a budget is for, as the source says it.
type Tenant struct {
	Static  string `json:"static,omitempty"`
	Dynamic string `json:"dynamic,omitempty"` // a source expression
}

// Fault is one thing wrong with a declaration.
type Fault struct {
	Rule    string       `json:"rule"`
	Error   string       `json:"error,omitempty"` // missing-target, unresolved and the like; empty for a warning
	Field   string       `json:"field,omitempty"`
	Values  []any        `json:"values,omitempty"`
	Message string       `json:"message"`
	Remedy  string       `json:"remedy,omitempty"`
	Pos     slo.Position `json:"position"`
	Snippet string       `json:"snippet,omitempty"`
}

// Position is where the declaration begins.
func (d *Declaration) Position() slo.Position {
	return slo.Position{File: d.File, Line: d.Line, Col: d.Col}
}

// Scan finds every declaration below dir. The error is about dir itself or the context; whatever is wrong with
// a file is a finding.
func Scan(ctx context.Context, dir string, o Options) (*Result, error) {
	if o.MaxFileBytes <= 0 {
		o.MaxFileBytes = DefaultMaxFileBytes
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := newTree(dir, o.MaxFileBytes)
	if err := t.walk(ctx); err != nil {
		return nil, err
	}
	s := &scan{tree: t, options: o, vocabulary: newVocabulary(), done: map[string]bool{}, refused: map[string]bool{}}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	return s.result(), nil
}

// scan is the state of one Scan.
type scan struct {
	tree       *tree
	options    Options
	vocabulary *vocabulary

	mu           sync.Mutex
	done         map[string]bool // files parsed for declarations
	refused      map[string]bool // files that were refused, and reported
	candidates   int
	declarations []Declaration
	suppressions []suppression
}

// run looks through the files until no new name of our class turns up. Most trees need one round.
func (s *scan) run(ctx context.Context) error {
	for round := 1; ; round++ {
		words := s.vocabulary.fresh()
		if len(words.anywhere)+len(words.whole) == 0 {
			return nil
		}
		s.options.Logger.Debug("look for declarations", "round", round, "files", len(s.tree.sources))
		s.round(ctx, words)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// round hands the files to the workers and waits for them.
func (s *scan) round(ctx context.Context, w words) {
	var group sync.WaitGroup
	var mu sync.Mutex
	next := 0
	take := func() (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= len(s.tree.sources) || ctx.Err() != nil {
			return "", false
		}
		next++
		return s.tree.sources[next-1], true
	}
	for range s.options.Workers {
		// A worker ends when the files are used up or ctx is cancelled.
		group.Go(func() {
			buffer := make([]byte, 256<<10)
			for name, ok := take(); ok; name, ok = take() {
				s.visit(ctx, name, w, buffer)
			}
		})
	}
	group.Wait()
}

// result puts everything in the order of the sources.
func (s *scan) result() *Result {
	slices.SortFunc(s.declarations, func(a, b Declaration) int { return comparePositions(a.Position(), b.Position()) })
	r := &Result{
		Declarations: s.declarations,
		suppressions: s.suppressions,
		Stats:        Stats{Files: len(s.tree.sources), Candidates: s.candidates, Parsed: len(s.done), Skipped: s.tree.skipped},
	}
	r.Findings = r.unsuppressed(s.tree.findings)
	return r
}

func comparePositions(a, b slo.Position) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}
