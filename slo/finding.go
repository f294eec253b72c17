package slo

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity ranks findings. The zero value is Error, so that nothing is let through by omission.
type Severity int

// From what must be mended to what is only worth knowing.
const (
	Error Severity = iota
	Warning
	Note
)

// String names the severity as reports and --fail-on spell it.
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	case Note:
		return "note"
	}
	panic(fmt.Sprintf("slo: severity %d", int(s)))
}

// ParseSeverity reads a severity as --fail-on spells it.
func ParseSeverity(s string) (Severity, error) {
	for _, v := range []Severity{Error, Warning, Note} {
		if v.String() == s {
			return v, nil
		}
	}
	return 0, fmt.Errorf("severity %q is unknown: write error, warning or note", s)
}

// MarshalText writes the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the severity's name.
func (s *Severity) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSeverity(string(text))
	return err
}

// Finding is one thing a person must look at: where, what, and what to do about it.
type Finding struct {
	Rule     string     `json:"rule"` // a stable id such as SB003, listed in docs/findings.md
	Severity Severity   `json:"severity"`
	Pos      Position   `json:"position"`
	Message  string     `json:"message"`
	Remedy   string     `json:"remedy,omitempty"`
	Related  []Position `json:"related,omitempty"` // other places the message speaks of
	Snippet  string     `json:"snippet,omitempty"` // the source line at Pos, for the caret on a terminal
}

// String prints file:line:col: message (rule).
func (f Finding) String() string {
	text := f.Message
	if f.Pos.File != "" {
		text = f.Pos.String() + ": " + text
	}
	if f.Remedy != "" {
		text += ": " + f.Remedy
	}
	return fmt.Sprintf("%s (%s)", text, f.Rule)
}

// SortFindings orders findings by place, then rule and text, so that the same input prints the same list.
func SortFindings(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		switch {
		case a.Pos.Before(b.Pos):
			return -1
		case b.Pos.Before(a.Pos):
			return 1
		}
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
}
