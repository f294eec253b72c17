package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/slowburn/slowburn/slo"
)

func TestFindingsShowTheSourceLine(t *testing.T) {
	for name, tc := range map[string]struct {
		finding slo.Finding
		want    string
	}{
		"caret under the column": {
			slo.Finding{Rule: "SB003", Pos: slo.Position{File: "a.ts", Line: 12, Col: 5}, Message: "target 1.2 outside (0, 1)", Remedy: "write 0.995", Snippet: "	 x 1.2"},
			"a.ts:12:5: error: target 1.2 outside (0, 1); write 0.995 (SB003)\n   12 | \t x 1.2\n      | \t   ^\n",
		},
		"an emoji is two UTF-16 units and two columns wide": {
			slo.Finding{Rule: "SB003", Pos: slo.Position{File: "a.ts", Line: 1, Col: 4}, Message: "m", Snippet: "😀 x"},
			"a.ts:1:4: error: m (SB003)\n    1 | 😀 x\n      |    ^\n",
		},
		"no place": {
			slo.Finding{Rule: "SB061", Severity: slo.Warning, Message: "m"},
			"warning: m (SB061)\n",
		},
		"names can't drive the terminal": {
			slo.Finding{Rule: "SB001", Severity: slo.Note, Pos: slo.Position{File: "a\x1b[31m\n.ts", Line: 1}, Message: "x\x07y"},
			"a\\x1b[31m\\x0a.ts:1: note: x\\x07y (SB001)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			Text{W: &b}.Findings([]slo.Finding{tc.finding})
			if b.String() != tc.want {
				t.Errorf("got\n%s\nwant\n%s", b.String(), tc.want)
			}
		})
	}
}

func TestTableAligns(t *testing.T) {
	var b bytes.Buffer
	Text{W: &b}.Table([]string{"NAME", "N"}, [][]Cell{
		{{Text: "api"}, {Text: "5", Right: true}},
		{{Text: "größer"}, {Text: "1200", Right: true}},
	})
	want := "NAME       N\napi        5\ngrößer  1200\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestPaintOnlyWhereColoursAreOn(t *testing.T) {
	if got := (Text{}).Paint("x", Red); got != "x" {
		t.Errorf("without colours: %q", got)
	}
	if got := (Text{Color: true}).Paint("x", Red); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("with colours: %q", got)
	}
}

func TestJudge(t *testing.T) {
	warning := slo.Finding{Severity: slo.Warning}
	for name, tc := range map[string]struct {
		doc    Document
		failOn slo.Severity
		want   Verdict
	}{
		"nothing found":            {Document{}, slo.Error, Validated},
		"below the bar":            {Document{Findings: []slo.Finding{warning}}, slo.Error, Validated},
		"at the bar":               {Document{Findings: []slo.Finding{warning}}, slo.Warning, Held},
		"a phase that did not run": {Document{Phases: Phases{Contract: Phase{Status: Failed}}}, slo.Error, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.doc.Judge(tc.failOn); tc.doc.Verdict != tc.want {
				t.Errorf("verdict %s, want %s", tc.doc.Verdict, tc.want)
			}
		})
	}
}

func TestShareOfNothingIsSkipped(t *testing.T) {
	if c := Share(0, 0, "facts"); c.Status != Skipped || c.Ratio != nil {
		t.Errorf("0 of 0 gives %+v", c)
	}
	if c := Share(1, 4, "facts"); c.Status != Complete || *c.Ratio != 0.25 {
		t.Errorf("1 of 4 gives %+v", c)
	}
}

func TestWriteSARIF(t *testing.T) {
	var b bytes.Buffer
	err := WriteSARIF(&b, []slo.Finding{
		{Rule: "SB003", Pos: slo.Position{File: "a.ts", Line: 2, Col: 3}, Message: "m", Remedy: "r", Related: []slo.Position{{File: "b.ts", Line: 1}}},
		{Rule: "SB003", Severity: slo.Note, Message: "no place"},
	}, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	var log map[string]any
	if err := json.Unmarshal(b.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"version": "2.1.0"`, `"startColumn": 3`, `"text": "m; r"`, `"level": "note"`, `"uri": "b.ts"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
	if n := strings.Count(b.String(), `"id": "SB003"`); n != 1 {
		t.Errorf("rule listed %d times", n)
	}
}

func TestSecondsInJSON(t *testing.T) {
	got, err := json.Marshal(Phase{Duration: Seconds(1234567 * time.Microsecond)})
	if err != nil || !strings.Contains(string(got), `"duration_seconds":1.234567`) {
		t.Errorf("%s, %v", got, err)
	}
}
