package contract

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// scanText scans a tree written as txtar.
func scanText(t *testing.T, archive string) *Result {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Scan(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// brief is a declaration on one line: its place and what it says or what is wrong with it.
func brief(d Declaration) string {
	s := fmt.Sprintf("%s:%d:%d %s", d.File, d.Line, d.Col, d.Kind)
	if d.Symbol != "" {
		s += " " + d.Symbol
	}
	if d.Error != "" {
		s += " ! " + d.Error + " " + d.Field
		if d.Values != nil {
			values, _ := json.Marshal(d.Values)
			s += " " + string(values)
		}
		return strings.TrimSpace(s)
	}
	if d.SLOTarget != nil {
		s += fmt.Sprintf(" %v", *d.SLOTarget)
	}
	if d.BurnRateThreshold != nil {
		s += fmt.Sprintf(" burn=%v", *d.BurnRateThreshold)
	}
	if d.Window != "" {
		s += " window=" + d.Window
	}
	if d.Service != "" {
		s += " service=" + d.Service
	}
	if d.Tenant != nil {
		s += fmt.Sprintf(" tenant=%s{%s}", d.Tenant.Static, d.Tenant.Dynamic)
	}
	if d.RecordingRules != nil {
		s += fmt.Sprintf(" rules=%v", d.RecordingRules)
	}
	if d.Env != nil {
		s += fmt.Sprintf(" env=%v", d.Env)
	}
	return s
}

// TestVariations says in one row each what the shared cases leave out. The last file of a row, svc.ts unless it
// is named, needs no header; every file that makes an instrument imports it by itself.
func TestVariations(t *testing.T) {
	const head = "import { ErrorBudgetInstrument } from '@acme/slo';"
	one := func(expression string) string { return "new ErrorBudgetInstrument({ sloTarget: " + expression + " });" }
	rows := []struct{ name, source, want string }{
		// constants
		{"let never reassigned", "let T = 0.995;\n" + one("T"), "0.995"},
		{"let reassigned", "let T = 0.995;\nT = 0.9;\n" + one("T"), "! unresolved sloTarget"},
		{"let counted", "let T = 0.995;\nT++;\n" + one("T"), "! unresolved sloTarget"},
		{"let assigned by a pattern", "let T = 0.995;\n[T] = [0.9];\n" + one("T"), "! unresolved sloTarget"},
		{"let assigned by an object pattern", "let T = 0.995;\n({ a: T = 1 } = x);\n" + one("T"), "! unresolved sloTarget"},
		{"let assigned by a loop", "let T = 0.995;\nfor (T of xs) {}\n" + one("T"), "! unresolved sloTarget"},
		{"var reassigned in a function", "var T = 0.995;\nfunction f() { T = 0.9 }\n" + one("T"), "! unresolved sloTarget"},
		{"var in a branch", "if (x) { var T = 0.995 }\n" + one("T"), "! unresolved sloTarget"},
		{"shadowed by a parameter", "const T = 0.995;\nconst f = (T) => " + one("T"), "! unresolved sloTarget"},
		{"shadowed by a block", "const T = 0.995;\n{ const T = 0.99; " + one("T") + " }", "0.99"},
		{"parameter with a default", "function f(T = 0.995) { " + one("T") + " }", "! unresolved sloTarget"},
		{"declare const", "declare const T: 0.995;\n" + one("T"), "! unresolved sloTarget"},
		{"object assigned into", "const C = { t: 0.995 };\nC.t = 0.9;\n" + one("C.t"), "! unresolved sloTarget"},
		{"object assigned into by key", "const C = { t: 0.995 };\nC['t'] = 0.9;\n" + one("C.t"), "! unresolved sloTarget"},
		{"object assigned into by another name", "const C = { t: 0.995 };\nconst d = C;\nd.t = 0.9;\n" + one("C.t"), "! unresolved sloTarget"},
		{"object assigned over", "const C = { t: 0.995 };\nObject.assign(C, { t: 0.9 });\n" + one("C.t"), "! unresolved sloTarget"},
		{"property deleted", "const C = { t: 0.995 };\ndelete C.t;\n" + one("C.t"), "! unresolved sloTarget"},
		{"list pushed to", "const C = [0.995];\nC.push(1);\n" + one("C[0]"), "! unresolved sloTarget"},
		{"frozen", "const C = Object.freeze({ api: { t: 0.995 } } as const);\n" + one("C.api.t"), "0.995"},
		{"Object.assign to a new object", "const C = Object.assign({}, { t: 0.9 }, { t: 0.995 });\n" + one("C.t"), "0.995"},
		{"getter", "const C = { get t() { return 0.995 } };\n" + one("C.t"), "! unresolved sloTarget"},
		{"function call", "const f = () => 0.995;\n" + one("f()"), "! unresolved sloTarget"},
		{"computed key", "const K = 't';\nconst C = { [K]: 0.995 };\n" + one("C.t"), "0.995"},
		{"computed key unknown", "const C = { t: 0.995, [k()]: 1 };\n" + one("C.t"), "! unresolved sloTarget"},
		{"optional chain", "const C = { api: { t: 0.995 } };\n" + one("C?.api?.t!"), "0.995"},
		{"self reference ends", "const T = T + 0;\n" + one("T"), "! unresolved sloTarget"},
		{"wrapped", "const T = <any>((0.995 as number)! satisfies number);\n" + one("(T)"), "0.995"},
		// operators
		{"powers", one("1 - 5 * 10 ** -3"), "0.995"},
		{"unary", one("-(-0.995)"), "0.995"},
		{"remainder", one("10.5 % 1 + 0.45"), "0.95"},
		{"comma", one("(0, 0.995)"), "0.995"},
		{"text plus", one("'99' + '.5%'"), "0.995"},
		{"template with a constant hole", one("`${99}.${4 + 1}%`"), "0.995"},
		{"template with an unknown hole", one("`${x()}%`"), "! unresolved sloTarget"},
		{"known condition", one("1 < 2 ? 0.995 : 0.9"), "0.995"},
		{"constant condition", "const PROD = true;\n" + one("PROD ? 0.995 : 0.9"), "0.995"},
		{"unknown condition", one("x() ? 0.999 : 0.99"), "! ambiguous sloTarget [0.999,0.99]"},
		{"unknown condition, one value", one("x() ? 0.99 : 0.99"), "0.99"},
		{"unknown condition inside arithmetic", one("1 - (x() ? 0.01 : 0.001)"), "! ambiguous sloTarget [0.99,0.999]"},
		{"unknown condition over options", "new ErrorBudgetInstrument(x() ? { sloTarget: 0.9 } : { sloTarget: 0.99 });", "! ambiguous sloTarget [0.9,0.99]"},
		{"stage decides", one("process.env.NODE_ENV === 'production' ? 0.999 : 0.99"), "! ambiguous sloTarget [0.999,0.99]"},
		{"unknown, then default", one("x() ?? 0.995"), "! unresolved sloTarget"},
		{"null, then default", one("null ?? 0.995"), "0.995"},
		{"false or", one("0 || 0.995"), "0.995"},
		{"true and", one("true && 0.995"), "0.995"},
		{"Math", one("Math.min(0.999, 0.995)"), "0.995"},
		{"toFixed", one("Number((0.99512).toFixed(3))"), "0.995"},
		// environment
		{"env by key", one("Number(process.env['SLO'] ?? 0.995)"), "0.995 env=map[sloTarget:SLO]"},
		{"env by pattern", "const { SLO = '0.995' } = process.env;\n" + one("+SLO"), "0.995 env=map[sloTarget:SLO]"},
		{"env by pattern, renamed", "const { SLO: S = '0.995' } = process.env;\n" + one("Number(S)"), "0.995 env=map[sloTarget:SLO]"},
		{"env by alias", "const env = process.env;\n" + one("Number(env.SLO || 0.995)"), "0.995 env=map[sloTarget:SLO]"},
		{"env import", "import { env } from 'node:process';\n" + one("Number(env.SLO || 0.995)"), "0.995 env=map[sloTarget:SLO]"},
		{"env vite", one("Number(import.meta.env.VITE_SLO ?? 0.995)"), "0.995 env=map[sloTarget:VITE_SLO]"},
		{"env NaN", one("Number(process.env.SLO) || 0.995"), "0.995 env=map[sloTarget:SLO]"},
		{"env condition", one("process.env.SLO ? Number(process.env.SLO) : 0.995"), "0.995 env=map[sloTarget:SLO]"},
		{"env undefined", one("process.env.SLO === undefined ? 0.995 : +process.env.SLO"), "0.995 env=map[sloTarget:SLO]"},
		{"env through a constant", "const S = parseFloat(process.env.SLO ?? '0.995');\n" + one("S"), "0.995 env=map[sloTarget:SLO]"},
		{"env percent", one("process.env.SLO ?? '99.5%'"), "0.995 env=map[sloTarget:SLO]"},
		{"env alone", one("process.env.SLO"), "! unresolved sloTarget"},
		{"env alone, cast", one("+process.env.SLO!"), "! unresolved sloTarget"},
		{"local process is not the environment", "const process = { env: { SLO: 0.995 } };\n" + one("process.env.SLO"), "0.995"},
		// classes, enums, namespaces, patterns
		{"static block", "class C { static T: number; static { this.T = 0.995; } }\n" + one("C.T"), "0.995"},
		{"static assigned", "class C { static T = 0.995 }\nC.T = 0.9;\n" + one("C.T"), "! unresolved sloTarget"},
		{"inherited static", "class B { static T = 0.995 }\nclass C extends B {}\n" + one("C.T"), "0.995"},
		{"private static", "class C { static #t = 0.995; static make() { return " + strings.TrimSuffix(one("C.#t"), ";") + " } }", "0.995"},
		{"constructor sets", "class C { t; constructor() { this.t = 0.995; } m() { " + one("this.t") + " } }", "0.995"},
		{"method sets", "class C { t = 0.995; set() { this.t = 0.9; } m() { " + one("this.t") + " } }", "! unresolved sloTarget"},
		{"parameter property", "class C { constructor(private t: number) {} m() { " + one("this.t") + " } }", "! unresolved sloTarget"},
		{"getter of a class", "class C { static get T() { return 0.995 } }\n" + one("C.T"), "! unresolved sloTarget"},
		{"enum computed", "enum E { A = 1 - 0.005, B = A }\n" + one("E.B"), "0.995"},
		{"enum counted", "enum E { A, B, C }\n" + one("[0, 0, 0.995][E.C]"), "0.995"},
		{"enum computed at run time", "enum E { A = x() }\n" + one("E.A / 100"), "! unresolved sloTarget"},
		{"namespace nested", "namespace A.B { export const t = 0.995 }\n" + one("A.B.t"), "0.995"},
		{"namespace merged", "namespace A { export const x = 1 }\nnamespace A { export const t = 0.995 }\n" + one("A.t"), "0.995"},
		{"namespace alias", "namespace A { export const t = 0.995 }\nimport T = A.t;\n" + one("T"), "0.995"},
		{"nested pattern", "const { a: [, { t }] } = { a: [1, { t: 0.995 }] };\n" + one("t"), "0.995"},
		{"rest pattern", "const { a, ...rest } = { a: 1, t: 0.995 };\n" + one("rest.t"), "0.995"},
		{"rest pattern leaves out", "const { t, ...rest } = { t: 0.995 };\n" + one("rest.t"), "! missing-target sloTarget"},
		{"list length", "const L = [1, 2];\n" + one("0.99 + L.length / 1000"), "0.992"},
		// options
		{"no argument", "new ErrorBudgetInstrument();", "! missing-target sloTarget"},
		{"empty", "new ErrorBudgetInstrument({});", "! missing-target sloTarget"},
		{"target is read, too", "new ErrorBudgetInstrument({ target: 0.995 });", "0.995"},
		{"target twice, the same", "new ErrorBudgetInstrument({ target: 0.995, sloTarget: 0.995 });", "0.995"},
		{"target twice", "new ErrorBudgetInstrument({ target: 0.995, sloTarget: 0.99 });", "! ambiguous sloTarget [0.995,0.99]"},
		{"key twice, the last wins", "new ErrorBudgetInstrument({ sloTarget: 0.9, sloTarget: 0.995 });", "0.995"},
		{"shorthand", "const sloTarget = 0.995;\nnew ErrorBudgetInstrument({ sloTarget });", "0.995"},
		{"quoted key", "new ErrorBudgetInstrument({ 'sloTarget': 0.995 });", "0.995"},
		{"unknown key", "new ErrorBudgetInstrument({ sloTarget: 0.995, burnRate: 14 });", "! unknown-key burnRate"},
		{"keys of the running library", "new ErrorBudgetInstrument({ sloTarget: 0.995, registry: r, maxTenants: 9 });", "0.995"},
		{"unknown spread before", "const f = (o) => new ErrorBudgetInstrument({ ...o, sloTarget: 0.995 });", "0.995"},
		{"unknown spread after", "const f = (o) => new ErrorBudgetInstrument({ sloTarget: 0.995, ...o });", "! unresolved sloTarget"},
		{"conditional spread", "new ErrorBudgetInstrument({ sloTarget: 0.995, ...(x() && { burnRateThreshold: 0.1 }) });", "! ambiguous burnRateThreshold [null,0.1]"},
		{"conditional spread of something else", "new ErrorBudgetInstrument({ ...(x() && { registry: 1 }), sloTarget: 0.995 });", "0.995"},
		{"spread of undefined", "new ErrorBudgetInstrument({ sloTarget: 0.995, ...undefined, ...null });", "0.995"},
		{"undefined is unsaid", "new ErrorBudgetInstrument({ sloTarget: 0.995, window: undefined });", "0.995"},
		{"factory", "export const make = (o) => new ErrorBudgetInstrument(o);", "! unresolved sloTarget"},
		{"bound nowhere", "new ErrorBudgetInstrument(OPTS);", "! unresolved sloTarget"},
		// kinds and ranges
		{"text that is no number", one("'high'"), "! wrong-type sloTarget"},
		{"boolean", one("true"), "! wrong-type sloTarget"},
		{"null", one("null"), "! wrong-type sloTarget"},
		{"list", one("[0.995]"), "! wrong-type sloTarget"},
		{"percent", one("'99.5 %'"), "0.995"},
		{"percent without sign", one("'99.5'"), "! out-of-range sloTarget"},
		{"burn rate", "new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: '14.4x' });", "0.995 burn=14.4"},
		{"error ratio", "new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: { errorRatio: '8%' } });", "0.995 burn=0.08"},
		{"budget", "new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: { budget: '2%', within: '1h' } });", "0.995"},
		{"burn rate as a percentage", "new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: { burnRate: '16%' } });", "! out-of-range burnRateThreshold"},
		{"error ratio as a multiple", "new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: { errorRatio: '8x' } });", "! out-of-range burnRateThreshold"},
		{"burn rate as a boolean", "new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: { burnRate: true } });", "! wrong-type burnRateThreshold"},
		{"budget without within", "new ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: { budget: '2%' } });", "! wrong-type burnRateThreshold"},
		{"never fires", "new ErrorBudgetInstrument({ sloTarget: 0.9, burnRateThreshold: 14.4 });", "! out-of-range burnRateThreshold"},
		{"threshold zero", "new ErrorBudgetInstrument({ sloTarget: 0.9, burnRateThreshold: 0 });", "! out-of-range burnRateThreshold"},
		{"below the budget is only remarked on", "new ErrorBudgetInstrument({ sloTarget: 0.9, burnRateThreshold: 0.08 });", "0.9 burn=0.08"},
		{"window as a number", "new ErrorBudgetInstrument({ sloTarget: 0.9, window: 30 });", "! wrong-type window"},
		{"rules as a text", "new ErrorBudgetInstrument({ sloTarget: 0.9, recordingRules: 'a:5m' });", "! wrong-type recordingRules"},
		{"rules of numbers", "new ErrorBudgetInstrument({ sloTarget: 0.9, recordingRules: [5] });", "! wrong-type recordingRules"},
		{"latency as a number", "new ErrorBudgetInstrument({ sloTarget: 0.9, threshold: 300 });", "! wrong-type threshold"},
		// tenants
		{"tenant casts", "new ErrorBudgetInstrument({ sloTarget: 0.9, tenantId: (req as any).user!.org /* x */ .id });", "0.9 tenant={req.user.org.id}"},
		{"tenant call", "new ErrorBudgetInstrument({ sloTarget: 0.9, tenantId: tenantOf( req,  1 ) });", "0.9 tenant={tenantOf(req, 1)}"},
		{"tenant shorthand", "const f = (tenantId) => new ErrorBudgetInstrument({ sloTarget: 0.9, tenantId });", "0.9 tenant={tenantId}"},
		{"tenant by env", "new ErrorBudgetInstrument({ sloTarget: 0.9, tenantId: process.env.TENANT ?? 'acme' });", "0.9 tenant=acme{} env=map[tenant:TENANT]"},
		{"tenant number", "new ErrorBudgetInstrument({ sloTarget: 0.9, tenantId: 7 });", "! wrong-type tenant"},
		// who counts
		{"parenthesised class", "new (ErrorBudgetInstrument)({ sloTarget: 0.9 });", "0.9"},
		{"required class", "const { ErrorBudgetInstrument: E } = require('@acme/slo');\nnew E({ sloTarget: 0.9 });", "0.9"},
		{"default import", "import E from '@acme/x';\nnew E({ sloTarget: 0.9 });", ""},
		{"another class", "new Other({ sloTarget: 0.9 });", ""},
		{"subclass without a constructor", "class B extends ErrorBudgetInstrument {}\nnew B({ sloTarget: 0.9 });", "0.9"},
		{"subclass with super", "class B extends ErrorBudgetInstrument { constructor() { super({ sloTarget: 0.9 }) } }\nnew B();", "0.9"},
		{"subclass passes through", "class B extends ErrorBudgetInstrument { constructor(o) { super(o) } }\nnew B({ sloTarget: 0.9 });", "! unresolved sloTarget"},
		{"super elsewhere", "class B extends Other { constructor() { super({ sloTarget: 0.9 }) } }", ""},
		{"the decorator of the tree needs a target", "function SLO(o) { return (c) => c }\n@SLO({ name: 'x' }) class A {}\n@SLO({ target: 0.9 }) class B {}", "0.9"},
		{"decorator alias", "import { SLO as S } from '@acme/slo';\n@S({ target: 0.9 }) class A {}", "0.9"},
		{"decorator by namespace", "import * as slo from '@acme/slo';\n@slo.SLO({ target: 0.9 }) class A {}", "0.9"},
		{"decorator bare", "import { SLO } from '@acme/slo';\n@SLO class A {}", "! missing-target sloTarget"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := scanText(t, "-- svc.ts --\n"+head+"\n"+row.source+"\n")
			var got []string
			for _, d := range r.Declarations {
				_, text, _ := strings.Cut(brief(d), " ")
				text = strings.TrimPrefix(text, d.Kind)
				text = strings.TrimPrefix(strings.TrimSpace(text), d.Symbol)
				got = append(got, strings.TrimSpace(text))
			}
			if have := strings.Join(got, "; "); have != row.want {
				t.Errorf("got  %s\nwant %s\n%+v", have, row.want, r.Declarations)
			}
		})
	}
}
