package contract

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzScan feeds bytes as a TypeScript, a JSX and an imported file. Whatever they are, the scan ends, every
// position lies inside its file, and every declaration has a target or an error.
func FuzzScan(f *testing.F) {
	cases, _ := filepath.Glob(filepath.Join("..", "..", "shared", "ts-cases", "*", "svc.ts"))
	for _, name := range cases {
		if data, err := os.ReadFile(name); err == nil {
			f.Add(data)
		}
	}
	f.Add([]byte(importOurs + "const { a: [T = 1] = [], ...r } = process.env;\nnew ErrorBudgetInstrument({ ...r, sloTarget: T ?? `${r.x}` });"))
	f.Add([]byte("/** @SLO a target={T.x[0]} tenant={f(b)} errors=x{y=\"z\"} */ class A { @SLO({ target: A.t }) static t = this.t }"))
	f.Add([]byte("export * from './b'; export { default as ErrorBudgetInstrument } from './a'; import x = require('./b'); // slowburn-ignore SB003: x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		dir := t.TempDir()
		for _, name := range []string{"a.ts", "b.tsx", "c.json", "tsconfig.json", "package.json"} {
			write(t, dir, name, string(data))
		}
		write(t, dir, "use.ts", importOurs+"import * as m from './a'; import { T } from './a';\n"+
			"new ErrorBudgetInstrument({ ...m, sloTarget: T }); new m.ErrorBudgetInstrument({ target: m.T });\n")
		r, err := Scan(t.Context(), dir, Options{Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		lines := 1 + strings.Count(string(data), "\n") + strings.Count(string(data), "\r")
		for _, d := range r.Declarations {
			if d.Line < 1 || d.Col < 1 || d.Line > max(lines, 3) {
				t.Errorf("%s:%d:%d is outside the file", d.File, d.Line, d.Col)
			}
			if (d.SLOTarget == nil) != (d.Error != "") {
				t.Errorf("declaration %s has target %v and error %q", d.Position(), d.SLOTarget, d.Error)
			}
			if !utf8.ValidString(d.Symbol) {
				t.Errorf("symbol %q", d.Symbol)
			}
			r.Explain(d.File, d.Line)
		}
		r.Objectives(ObjectiveOptions{ServiceOf: func(string) string { return "x" }})
	})
}
