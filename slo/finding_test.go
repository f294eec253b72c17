package slo

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
)

func TestSeverityRoundTrip(t *testing.T) {
	for severity, text := range map[Severity]string{Error: "error", Warning: "warning", Note: "note"} {
		written, err := json.Marshal(severity)
		if err != nil || string(written) != `"`+text+`"` {
			t.Errorf("%s is written as %s, %v", text, written, err)
		}
		var read Severity
		if err := json.Unmarshal(written, &read); err != nil || read != severity {
			t.Errorf("%s reads back as %v, %v", written, read, err)
		}
	}
	for _, text := range []string{"", "Error", "fatal", "0"} {
		if got, err := ParseSeverity(text); err == nil {
			t.Errorf("%q is taken as %s", text, got)
		}
	}
	if new(Severity).String() != "error" {
		t.Error("a finding that names no severity is no error")
	}
}

func TestFindingString(t *testing.T) {
	for _, row := range []struct {
		finding Finding
		want    string
	}{
		{Finding{Rule: "SB006", Pos: Position{"api/slo.ts", 12, 3}, Message: "target 1.2 outside (0, 1)"}, "api/slo.ts:12:3: target 1.2 outside (0, 1) (SB006)"},
		{Finding{Rule: "SB002", Pos: Position{File: "api/slo.ts", Line: 12}, Message: "no target", Remedy: "add target"}, "api/slo.ts:12: no target: add target (SB002)"},
		{Finding{Rule: "SB022", Pos: Position{File: "api"}, Message: "permission denied"}, "api: permission denied (SB022)"},
		{Finding{Rule: "SB050", Message: "no Compose file"}, "no Compose file (SB050)"},
	} {
		if got := row.finding.String(); got != row.want {
			t.Errorf("got %s, want %s", got, row.want)
		}
	}
}

func TestPositionBefore(t *testing.T) {
	ordered := []Position{
		{}, {File: "a.ts"}, {File: "a.ts", Line: 2}, {"a.ts", 2, 1}, {"a.ts", 2, 10}, {"a.ts", 10, 1}, {File: "b.ts"}, {"b.ts", 1, 1},
	}
	for i, p := range ordered {
		for j, q := range ordered {
			if p.Before(q) != (i < j) {
				t.Errorf("%v before %v: got %v", p, q, p.Before(q))
			}
		}
	}
}

func TestSortFindings(t *testing.T) {
	want := []Finding{
		{Rule: "SB050", Message: "of no place"},
		{Rule: "SB002", Pos: Position{"a.ts", 1, 1}, Message: "a"},
		{Rule: "SB002", Pos: Position{"a.ts", 1, 1}, Message: "b"},
		{Rule: "SB006", Pos: Position{"a.ts", 1, 1}, Message: "a"},
		{Rule: "SB001", Pos: Position{"a.ts", 2, 1}, Message: "a"},
		{Rule: "SB001", Pos: Position{"b.ts", 1, 1}, Message: "a"},
	}
	same := func(a, b Finding) bool { return a.String() == b.String() }
	random := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		got := slices.Clone(want)
		random.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		SortFindings(got)
		if !slices.EqualFunc(got, want, same) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestRulesAreComplete(t *testing.T) {
	id := regexp.MustCompile(`^SB\d{3}$`)
	seen := map[string]bool{}
	for _, r := range Rules() {
		if !id.MatchString(r.ID) || seen[r.ID] {
			t.Errorf("rule id %q is malformed or used twice", r.ID)
		}
		seen[r.ID] = true
		if r.Title == "" || r.Explanation == "" || r.Remedy == "" || r.Severity.String() == "" {
			t.Errorf("%s lacks a title, an explanation or a remedy", r.ID)
		}
	}
	if !slices.IsSortedFunc(Rules(), func(a, b Rule) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	}) {
		t.Error("rules are not listed by id")
	}
}

func TestObjectiveNames(t *testing.T) {
	o := Objective{Service: "api", Name: "availability"}
	if o.ID() != "api/availability" || o.Source() != (Position{}) {
		t.Errorf("got %s declared at %v", o.ID(), o.Source())
	}
	o.Declared = []Position{{"a.ts", 3, 1}, {"b.ts", 1, 1}}
	if o.Source() != o.Declared[0] {
		t.Errorf("declared first at %v", o.Source())
	}
	if !(Tenant{}).IsZero() || (Tenant{Label: "tenant"}).IsZero() {
		t.Error("the zero tenant is the one that says nothing")
	}
}
