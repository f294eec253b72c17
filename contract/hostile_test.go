package contract

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"
)

// TestNestingIsRefused hands the scan what would overflow the parser's stack or take it hours, beside a sound
// file that must still be read.
func TestNestingIsRefused(t *testing.T) {
	const n = 200_000
	rows := []struct{ name, file, source string }{
		{"parentheses", "a.ts", "x = " + strings.Repeat("(", n) + strings.Repeat(")", n)},
		{"parentheses left open", "a.ts", "x = " + strings.Repeat("(", n)},
		{"brackets", "a.ts", "x = " + strings.Repeat("[", n)},
		{"braces", "a.ts", strings.Repeat("{", n)},
		{"objects", "a.ts", "x = " + strings.Repeat("{a:", n)},
		{"functions", "a.ts", strings.Repeat("function f(){", n)},
		{"tags", "a.tsx", "x = " + strings.Repeat("<a>", n)},
		{"tags and apostrophes", "a.tsx", "x = " + strings.Repeat("<p>'{(\n", n)},
		{"a backquote in a tag", "a.tsx", "x = <p>`</p>; y = " + strings.Repeat("(\")\",", n)},
		{"types", "a.ts", "type A = " + strings.Repeat("A<", n)},
		{"types beside each other", "a.ts", "x = " + strings.Repeat("a<b,", n)},
		{"conditional types", "a.ts", "type A = " + strings.Repeat("B extends C ? D : ", n) + "E"},
		{"templates", "a.ts", "x = " + strings.Repeat("`${", n)},
		{"operators", "a.ts", "x = " + strings.Repeat("1+", n) + "1"},
		{"commas", "a.ts", "x = (" + strings.Repeat("1,", n) + "1)"},
		{"members", "a.ts", "x = " + strings.Repeat("a.", n) + "a"},
		{"calls", "a.ts", "x = a" + strings.Repeat(".b({})\n", n)},
		{"negations", "a.ts", "x = " + strings.Repeat("!", n) + "1"},
		{"conditions", "a.ts", "x = " + strings.Repeat("a?b:", n) + "1"},
		{"else if", "a.ts", strings.Repeat("if(a){}else ", n) + "{}"},
		{"if in lines", "a.ts", strings.Repeat("if(a)\n", n) + ";"},
		{"arrows", "a.ts", "x = " + strings.Repeat("a=>", n) + "1"},
		{"labels", "a.ts", strings.Repeat("a:", n) + ";"},
		{"decorators", "a.ts", strings.Repeat("@a ", n) + "class A {}"},
		{"calls of async", "a.ts", "x = " + strings.Repeat("async(a=>", 40) + "1" + strings.Repeat(")", 40)},
		{"JSON", "a.json", strings.Repeat("[", n)},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, row.file, "// ErrorBudgetInstrument\n"+row.source)
			write(t, dir, "use.ts", importOurs+"import T from './a.json';\nnew ErrorBudgetInstrument({ sloTarget: T });\n")
			write(t, dir, "z.ts", importOurs+"new ErrorBudgetInstrument({ sloTarget: 0.9 });\n")
			r, err := Scan(t.Context(), dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(r.Declarations); n != 2 || brief(r.Declarations[1]) != "z.ts:2:1 call 0.9" || r.Declarations[0].Error != "unresolved" {
				t.Errorf("declarations %v", r.Declarations)
			}
			if row.file == "a.json" {
				return
			}
			if len(r.Findings) != 1 || r.Findings[0].Rule != ruleTooDeep || r.Findings[0].Pos.Line < 2 {
				t.Errorf("findings %v", r.Findings)
			}
		})
	}
}

// TestDeepTextIsReadInTime: what the bounds let through is read at once. A step that doubles with each level would
// outlive the test.
func TestDeepTextIsReadInTime(t *testing.T) {
	for _, level := range []string{"x=", "exports.a=", "a<b", "a<(b", "a<{b:", "async <T", "a?(b):c=>(", "abstract new <", "(a=(b", "a?(b", "x as <", "type A<B="} {
		t.Run(level, func(t *testing.T) {
			for _, n := range []int{30, maxNesting / 2, maxNesting - 10} {
				dir := t.TempDir()
				write(t, dir, "a.ts", importOurs+strings.Repeat(level, n))
				start := time.Now()
				if _, err := Scan(t.Context(), dir, Options{}); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(start); d > 5*time.Second {
					t.Errorf("%d levels took %v", n, d)
				}
			}
		})
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	full := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFilesThatAreNoSources: each is a finding or a counted skip, and the sound file beside them is read.
func TestFilesThatAreNoSources(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("links and pipes are made as Linux has them")
	}
	dir := t.TempDir()
	const mention = importOurs + "new ErrorBudgetInstrument({ sloTarget: 0.9 });\n"
	write(t, dir, "big.ts", "x = '"+strings.Repeat("a", 5<<20)+"';\n"+mention)
	write(t, dir, "dull.ts", strings.Repeat("let a = 1;\n", 1<<19))
	write(t, dir, "edge.ts", strings.Repeat(" ", 256<<10-10)+"new ErrorBudgetInstrument({ sloTarget: 0.8 });")
	write(t, dir, "binary.ts", "\x7fELF\x00ErrorBudgetInstrument")
	write(t, dir, "latin.ts", "// caf\xe9\n"+mention)
	write(t, dir, "wide.ts", utf16Text(mention))
	write(t, dir, "name\nwith \x1b[31m.ts", mention)
	write(t, dir, "bundle.js", strings.Repeat("x=1;", 3000)+mention)
	write(t, dir, "package.json", "{ \"name\": ")
	outside := t.TempDir()
	write(t, outside, "a.ts", mention)
	for link, to := range map[string]string{"loop": ".", "out": outside, "zero.ts": "/dev/zero", "broken.ts": "nowhere", "inside.ts": "wide.ts"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.ts"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Scan(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var found, reported []string
	for _, d := range r.Declarations {
		found = append(found, brief(d))
	}
	for _, f := range r.Findings {
		reported = append(reported, f.Pos.String()+" "+f.Rule)
	}
	want := "edge.ts:1:262135 call 0.8|name\nwith \x1b[31m.ts:2:1 call 0.9|wide.ts:2:1 call 0.9"
	if got := strings.Join(found, "|"); got != want {
		t.Errorf("found %q\nwant  %q", got, want)
	}
	want = "big.ts:1:1 SB020|binary.ts SB023|latin.ts SB023|out SB024|package.json:1:10 SB025|zero.ts SB024"
	if got := strings.Join(reported, "|"); got != want {
		t.Errorf("reported %q\nwant     %q", got, want)
	}
	for reason, n := range map[string]int{"link": 2, "link out of the tree": 2, "broken link": 1, "not a regular file": 1, "not text": 2,
		"too large": 1, "too large, and without a declaration": 1, "minified": 1} {
		if r.Stats.Skipped[reason] != n {
			t.Errorf("skipped %q: %d, want %d", reason, r.Stats.Skipped[reason], n)
		}
	}
}

func utf16Text(text string) string {
	b := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return string(b)
}

// TestScanOfNothing: the error is about the directory.
func TestScanOfNothing(t *testing.T) {
	if _, err := Scan(t.Context(), filepath.Join(t.TempDir(), "gone"), Options{}); err == nil {
		t.Error("a directory that is not there was scanned")
	}
	dir := t.TempDir()
	write(t, dir, "a.ts", "")
	if _, err := Scan(t.Context(), filepath.Join(dir, "a.ts"), Options{}); err == nil {
		t.Error("a file was scanned as a directory")
	}
	if r, err := Scan(t.Context(), dir, Options{}); err != nil || len(r.Declarations) != 0 || r.Stats.Parsed != 0 {
		t.Errorf("%v %v", r, err)
	}
}

// TestLostMentions: what a syntax error hides is reported at its line, and what it does not hide is found.
func TestLostMentions(t *testing.T) {
	source := importOurs + "const s = abc`;\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n/** @SLO target=99% */\nfunction f() {}\nconst u = `x`;\n"
	r := scanText(t, "-- a.ts --\n"+source)
	var got []string
	for _, d := range r.Declarations {
		got = append(got, brief(d))
	}
	if have, want := strings.Join(got, "\n"), "a.ts:3:1 call ! syntax\na.ts:4:5 jsdoc ! syntax"; have != want {
		t.Errorf("got  %s\nwant %s", have, want)
	}
}
