package contract

import (
	"strings"
	"testing"
)

const importOurs = "import { ErrorBudgetInstrument } from '@acme/slo';\n"

// TestTrees says what a scan finds in trees of several files: one line for each declaration.
func TestTrees(t *testing.T) {
	use := func(spec string) string {
		return importOurs + "import { T } from '" + spec + "';\nexport const a = new ErrorBudgetInstrument({ sloTarget: T });\n"
	}
	rows := []struct{ name, tree, want string }{
		{"barrels of barrels", "-- svc.ts --\n" + use("./a") + "-- a/index.ts --\nexport * from './b';\n-- a/b.ts --\nexport { X as T } from '../c/c.js';\n-- c/c.ts --\nexport * from './d'; export const other = 1;\n-- c/d.ts --\nimport { Y } from '../y'; export { Y as X };\n-- y.ts --\nexport const Y = 0.995;\n", "svc.ts:3:18 call 0.995"},
		{"import cycle", "-- svc.ts --\n" + use("./a") + "-- a.ts --\nexport * from './b';\n-- b.ts --\nexport * from './a';\nexport const T = 0.995;\n", "svc.ts:3:18 call 0.995"},
		{"cycle without an end", "-- svc.ts --\n" + use("./a") + "-- a.ts --\nexport { T } from './b';\n-- b.ts --\nexport { T } from './a';\n", "svc.ts:3:18 call ! unresolved sloTarget"},
		{"constants in a cycle", "-- svc.ts --\n" + use("./a") + "-- a.ts --\nimport { U } from './b'; export const T = U.t; export const V = 0.995;\n-- b.ts --\nimport { V } from './a'; export const U = { t: V };\n", "svc.ts:3:18 call 0.995"},
		{"two stars with two values", "-- svc.ts --\n" + use("./a") + "-- a.ts --\nexport * from './b'; export * from './c';\n-- b.ts --\nexport const T = 0.99;\n-- c.ts --\nexport const T = 0.995;\n", "svc.ts:3:18 call ! ambiguous sloTarget [0.99,0.995]"},
		{"an own export hides a star", "-- svc.ts --\n" + use("./a") + "-- a.ts --\nexport * from './b'; export const T = 0.995;\n-- b.ts --\nexport const T = 0.99;\n", "svc.ts:3:18 call 0.995"},
		{"default export", "-- svc.ts --\n" + importOurs + "import C from './a';\nnew ErrorBudgetInstrument({ sloTarget: C.t });\n-- a.ts --\nexport default { t: 0.995 } as const;\n", "svc.ts:3:1 call 0.995"},
		{"default by name", "-- svc.ts --\n" + importOurs + "import { default as C } from './a';\nnew ErrorBudgetInstrument({ sloTarget: C });\n-- a.ts --\nconst C = 0.995;\nexport default C;\n", "svc.ts:3:1 call 0.995"},
		{"default again", "-- svc.ts --\n" + use("./a") + "-- a.ts --\nexport { default as T } from './b';\n-- b.ts --\nexport default 0.995;\n", "svc.ts:3:18 call 0.995"},
		{"namespace export", "-- svc.ts --\n" + importOurs + "import { cfg } from './a';\nnew ErrorBudgetInstrument({ sloTarget: cfg.T });\n-- a.ts --\nexport * as cfg from './b';\n-- b.ts --\nexport const T = 0.995;\n", "svc.ts:3:1 call 0.995"},
		{"namespace import", "-- svc.ts --\n" + importOurs + "import * as cfg from './b';\nconst { T: { x } } = cfg;\nnew ErrorBudgetInstrument({ sloTarget: x });\n-- b.ts --\nexport const T = { x: 0.995 };\n", "svc.ts:4:1 call 0.995"},
		{"dynamic import", "-- svc.ts --\n" + importOurs + "const { T } = await import('./b');\nnew ErrorBudgetInstrument({ sloTarget: T });\n-- b.ts --\nexport const T = 0.995;\n", "svc.ts:3:1 call 0.995"},
		{"JSON", "-- svc.ts --\n" + importOurs + "import cfg from './slo.json' with { type: 'json' };\nnew ErrorBudgetInstrument({ sloTarget: cfg.api.target });\n-- slo.json --\n{ \"api\": { \"target\": 0.995 } }\n", "svc.ts:3:1 call 0.995"},
		{"JSON by name", "-- svc.ts --\n" + importOurs + "import { api } from './slo.json';\nconst c = require('./slo.json');\nnew ErrorBudgetInstrument({ sloTarget: api.target, window: c.w });\n-- slo.json --\n{ \"api\": { \"target\": 0.995 }, \"w\": \"7d\" }\n", "svc.ts:4:1 call 0.995 window=7d"},
		{"module.exports", "-- svc.js --\nconst { ErrorBudgetInstrument } = require('@acme/slo');\nconst cfg = require('./a');\nnew ErrorBudgetInstrument({ sloTarget: cfg.T });\n-- a.js --\nmodule.exports = { T: 0.995 };\n", "svc.js:3:1 call 0.995"},
		{"exports.T", "-- svc.mjs --\n" + use("./a.js") + "-- a.js --\nexports.T = void 0;\nexports.T = 0.995;\n", "svc.mjs:3:18 call 0.995"},
		{"exports in a chain", "-- svc.mjs --\n" + use("./a.js") + "-- a.js --\nexports.other = exports.T = exports.third = 0.995;\n", "svc.mjs:3:18 call 0.995"},
		{"import mutated here", "-- svc.ts --\n" + importOurs + "import { C } from './a';\nC.t = 0.9;\nnew ErrorBudgetInstrument({ sloTarget: C.t });\n-- a.ts --\nexport const C = { t: 0.995 };\n", "svc.ts:4:1 call ! unresolved sloTarget"},
		{"import mutated there", "-- svc.ts --\n" + use("./a") + "-- a.ts --\nexport let T = 0.995;\nexport const set = (t: number) => { T = t; };\n", "svc.ts:3:18 call ! unresolved sloTarget"},
		{"missing file", "-- svc.ts --\n" + use("./gone"), "svc.ts:3:18 call ! unresolved sloTarget"},
		{"missing export", "-- svc.ts --\n" + use("./a") + "-- a.ts --\nexport const U = 1;\n", "svc.ts:3:18 call ! unresolved sloTarget"},
		{"outside the tree", "-- svc.ts --\n" + use("../../a"), "svc.ts:3:18 call ! unresolved sloTarget"},
		{"foreign package", "-- svc.ts --\n" + use("@other/pkg"), "svc.ts:3:18 call ! unresolved sloTarget"},
		{"enum of another file", "-- svc.ts --\n" + importOurs + "import { Tier } from './a';\nnew ErrorBudgetInstrument({ sloTarget: Tier.Gold });\n-- a.ts --\nexport enum Tier { Gold = 0.995 }\n", "svc.ts:3:1 call 0.995"},
		{"paths by extends", "-- tsconfig.base.json --\n{ // shared\n \"compilerOptions\": { \"paths\": { \"@cfg\": [\"./libs/cfg/src/index.ts\"], \"~/*\": [\"./libs/*\"], }, } }\n-- apps/api/tsconfig.json --\n{ \"extends\": \"../../tsconfig.base.json\" }\n-- apps/api/svc.ts --\n" + use("@cfg") + "-- libs/cfg/src/index.ts --\nexport { T } from '~/cfg/src/t';\n-- libs/cfg/src/t.ts --\nexport const T = 0.995;\n-- libs/cfg/tsconfig.json --\n{ \"extends\": \"../../tsconfig.base\" }\n", "apps/api/svc.ts:3:18 call 0.995"},
		{"paths by reference", "-- tsconfig.json --\n{ \"files\": [], \"references\": [{ \"path\": \"./tsconfig.app.json\" }] }\n-- tsconfig.app.json --\n{ \"compilerOptions\": { \"baseUrl\": \"src\", \"paths\": { \"@/*\": [\"*\"] } } }\n-- src/svc.ts --\n" + use("@/cfg/t") + "-- src/cfg/t.ts --\nexport const T = 0.995;\n", "src/svc.ts:3:18 call 0.995"},
		{"baseUrl", "-- tsconfig.json --\n{ \"compilerOptions\": { \"baseUrl\": \"./src\" } }\n-- src/deep/svc.ts --\n" + use("cfg") + "-- src/cfg.ts --\nexport const T = 0.995;\n", "src/deep/svc.ts:3:18 call 0.995"},
		{"package main", "-- packages/cfg/package.json --\n{ \"name\": \"cfg\", \"main\": \"lib/index.js\" }\n-- packages/cfg/src/index.ts --\nexport const T = 0.995;\n-- svc.ts --\n" + use("cfg"), "svc.ts:3:18 call 0.995"},
		{"package types", "-- packages/cfg/package.json --\n{ \"name\": \"@a/cfg\", \"types\": \"dist/types/main.d.ts\" }\n-- packages/cfg/src/main.ts --\nexport const T = 0.995;\n-- svc.ts --\n" + use("@a/cfg"), "svc.ts:3:18 call 0.995"},
		{"package pattern", "-- packages/cfg/package.json --\n{ \"name\": \"@a/cfg\", \"exports\": { \"./*\": { \"import\": \"./dist/esm/*.mjs\" } } }\n-- packages/cfg/src/tiers/gold.ts --\nexport const T = 0.995;\n-- svc.ts --\n" + use("@a/cfg/tiers/gold"), "svc.ts:3:18 call 0.995"},
		{"package without anything", "-- packages/cfg/package.json --\n{ \"name\": \"@a/cfg\" }\n-- packages/cfg/src/x.ts --\nexport const T = 0.995;\n-- svc.ts --\n" + use("@a/cfg/src/x"), "svc.ts:3:18 call 0.995"},
		{"package imports", "-- package.json --\n{ \"name\": \"x\", \"imports\": { \"#cfg/*\": \"./src/cfg/*.js\" } }\n-- src/cfg/t.ts --\nexport const T = 0.995;\n-- src/svc.ts --\n" + use("#cfg/t"), "src/svc.ts:3:18 call 0.995"},
		{"two packages of one name", "-- a/package.json --\n{ \"name\": \"cfg\" }\n-- b/package.json --\n{ \"name\": \"cfg\" }\n-- a/index.ts --\nexport const T = 1;\n-- svc.ts --\n" + use("cfg"), "svc.ts:3:18 call ! unresolved sloTarget"},
		{"class under another name", "-- slo.ts --\nexport { ErrorBudgetInstrument as Budget } from '@acme/slo';\n-- more.ts --\nexport { Budget as Spend } from './slo';\n-- a.ts --\nimport { Budget } from './slo';\nnew Budget({ sloTarget: 0.99 });\n-- b.ts --\nimport * as m from './more';\nnew m.Spend({ sloTarget: 0.995 });\n-- c.ts --\nimport { Budget } from 'elsewhere';\nnew Budget({ sloTarget: 0.9 });\n", "a.ts:2:1 call 0.99\nb.ts:2:1 call 0.995"},
		{"class by default", "-- budget.ts --\nimport { ErrorBudgetInstrument } from '@acme/slo';\nexport default class extends ErrorBudgetInstrument {}\n-- a.ts --\nimport B from './budget';\nnew B({ sloTarget: 0.99 });\n", "a.ts:2:1 call 0.99"},
		{"class by constant", "-- slo.ts --\nimport { ErrorBudgetInstrument } from '@acme/slo';\nexport const Budget = ErrorBudgetInstrument;\n-- a.ts --\nimport { Budget as B } from './slo';\nnew B({ sloTarget: 0.99 });\n", "a.ts:2:1 call 0.99"},
		{"class of the tree", "-- packages/slo/package.json --\n{ \"name\": \"@acme/slo\", \"main\": \"dist/index.js\" }\n-- packages/slo/src/index.ts --\nexport class ErrorBudgetInstrument { constructor(readonly o: object) {} }\n-- a.ts --\n" + importOurs + "new ErrorBudgetInstrument({ sloTarget: 0.99 });\n", "a.ts:2:1 call 0.99"},
		{"subclass of another file", "-- base.ts --\nimport { ErrorBudgetInstrument } from '@acme/slo';\nexport class Base extends ErrorBudgetInstrument {}\n-- a.ts --\nimport { Base } from './base';\nclass Mine extends Base { constructor() { super({ sloTarget: 0.99 }); } }\nnew Mine();\n", "a.ts:2:43 call 0.99"},
		{"ignored files", "-- .gitignore --\n*.gen.ts\n/out/\n!keep.gen.ts\n-- a.gen.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- sub/keep.gen.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.99 });\n-- out/a.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- sub/out/a.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.999 });\n-- sub/.gitignore --\nskip/**\n-- sub/skip/a.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n", "sub/keep.gen.ts:1:1 call 0.99\nsub/out/a.ts:1:1 call 0.999"},
		{"what declares nothing", "-- node_modules/x/a.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- a.d.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- a.min.js --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- a.md --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n", ""},
		{"compiled into outDir", "-- tsconfig.json --\n{ \"compilerOptions\": { \"outDir\": \"./dist\" } }\n-- src/a.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- dist/a.js --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- dist/hand.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.99 });\n", "dist/hand.ts:1:1 call 0.99\nsrc/a.ts:1:1 call 0.9"},
		{"compiled by an inherited outDir", "-- tsconfig.base.json --\n{ \"compilerOptions\": { \"outDir\": \"build/js\" } }\n-- app/tsconfig.build.json --\n{ \"extends\": \"../tsconfig.base.json\" }\n-- app/a.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- build/js/app/a.mjs --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- build/tool.js --\nnew ErrorBudgetInstrument({ sloTarget: 0.99 });\n", "app/a.ts:1:1 call 0.9\nbuild/tool.js:1:1 call 0.99"},
		{"an outDir that holds its own sources", "-- src/tsconfig.json --\n{ \"compilerOptions\": { \"outDir\": \".\", \"allowJs\": true } }\n-- src/a.js --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n", "src/a.js:1:1 call 0.9"},
		{"compiled in place", "-- a.ts --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- a.js --\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- b.js --\nnew ErrorBudgetInstrument({ sloTarget: 0.99 });\n", "a.ts:1:1 call 0.9\nb.js:1:1 call 0.99"},
		{"JavaScript", "-- a.jsx --\nexport const P = () => <p>Don't</p>;\nnew ErrorBudgetInstrument({ sloTarget: 0.9 });\n-- b.cjs --\nif (1 < 2 > (3)) new ErrorBudgetInstrument({ sloTarget: 0.99 });\n", "a.jsx:2:1 call 0.9\nb.cjs:1:18 call 0.99"},
		{"line ends", "-- a.ts --\n\ufeff// \u2028 one line\r// two\r\n/* \u2028 */ new ErrorBudgetInstrument({ sloTarget: 0.9 }); '𝄞'; new ErrorBudgetInstrument({ sloTarget: 0.99 });\n", "a.ts:3:9 call 0.9\na.ts:3:62 call 0.99"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, d := range scanText(t, row.tree).Declarations {
				got = append(got, brief(d))
			}
			if have := strings.Join(got, "\n"); have != row.want {
				t.Errorf("got  %s\nwant %s", have, row.want)
			}
		})
	}
}

// TestTags says what each comment declares.
func TestTags(t *testing.T) {
	rows := []struct{ name, source, want string }{
		{"name first", "/** @SLO availability target=99.5% */ function f() {}", "a.ts:1:5 jsdoc f 0.995"},
		{"blanks round =", "/** @SLO target = 99.5%   window =7d */ function f() {}", "a.ts:1:5 jsdoc f 0.995 window=7d"},
		{"several lines", "/**\n * @SLO availability\n *   target=99.5%\n *   errors=http_requests_total{code=~\"5..\", job=\"a b\"} total=http_requests_total tenantLabel=tenant\n * @see x\n */\nexport class ApiService {}", "a.ts:2:4 jsdoc ApiService 0.995"},
		{"next tag ends it", "/** @SLO target=99.5% @deprecated use=other */ function f() {}", "a.ts:1:5 jsdoc f 0.995"},
		{"two tags", "/** @SLO target=99.5%\n * @SLO latency target=99% threshold=300ms metric=http_request_duration_seconds */ function f() {}", "a.ts:1:5 jsdoc f 0.995\na.ts:2:4 jsdoc f 0.99"},
		{"quoted", "/** @SLO target=\"99.5%\" service='check out' */ function f() {}", "a.ts:1:5 jsdoc f 0.995 service=check out"},
		{"constant", "const T = { a: 0.995 };\n/** @SLO target={T.a} */ function f() {}", "a.ts:2:5 jsdoc f 0.995"},
		{"expression unknown", "/** @SLO target={T} */ function f() {}", "a.ts:1:5 jsdoc f ! unresolved sloTarget"},
		{"tenant constant", "const ACME = 'acme';\n/** @SLO target=99% tenant={ACME} */ function f() {}", "a.ts:2:5 jsdoc f 0.99 tenant=acme{}"},
		{"tenant expression", "/** @SLO target=99% tenant={ (context as any).tenantId! } */ function f() {}", "a.ts:1:5 jsdoc f 0.99 tenant={context.tenantId}"},
		{"threshold in full", "/** @SLO target=99.5% burnRateThreshold={budget: '2%', within: '1h'} */ function f() {}", "a.ts:1:5 jsdoc f 0.995"},
		{"threshold as a rate", "/** @SLO target=99.5% burnRateThreshold=14.4x */ function f() {}", "a.ts:1:5 jsdoc f 0.995 burn=14.4"},
		{"threshold as a share", "/** @SLO target=99.5% burnRateThreshold=8% */ function f() {}", "a.ts:1:5 jsdoc f 0.995 burn=0.08"},
		{"unknown key", "/** @SLO taget=99.5% */ function f() {}", "a.ts:1:5 jsdoc f ! unknown-key taget"},
		{"no target", "/** @SLO */ function f() {}", "a.ts:1:5 jsdoc f ! missing-target sloTarget"},
		{"percent without sign", "/** @SLO target=99.5 */ function f() {}", "a.ts:1:5 jsdoc f ! out-of-range sloTarget"},
		{"word for a number", "/** @SLO target=high */ function f() {}", "a.ts:1:5 jsdoc f ! wrong-type sloTarget"},
		{"prose", "/** @SLO availability for all target=99.5% */ function f() {}", "a.ts:1:5 jsdoc f ! syntax"},
		{"description", "/** @SLO target=99.5% - the front door */ function f() {}", "a.ts:1:5 jsdoc f 0.995"},
		{"not closed", "/** @SLO target={T */ function f() {}", "a.ts:1:5 jsdoc f ! syntax"},
		{"parentheses", "/** @SLO({ target: 0.995 }) */ function f() {}", "a.ts:1:5 jsdoc f ! syntax"},
		{"key said twice", "/** @SLO target=99% target=99.5% */ function f() {}", "a.ts:1:5 jsdoc f ! ambiguous sloTarget [\"99%\",\"99.5%\"]"},
		{"mentions", "// @SLO target=1%\n/* @SLO target=1% */\n/** The @SLO tag. `@SLO target=1%` */\n/** @SLOs target=1% */\n/**\n * ```\n * @SLO target=1%\n * ```\n */\n/** @example\n * @SLO({ target: 0.5 }) class X {} */\nconst s = `/** @SLO target=1% */`, r = /\\/** @SLO *\\//;", ""},
		{"method", "class A { /** @SLO target=99% */ m() {} }", "a.ts:1:15 jsdoc A.m 0.99"},
		{"property", "class A {\n  /** @SLO target=99% */\n  private readonly p = 1; }", "a.ts:2:7 jsdoc A.p 0.99"},
		{"static getter", "class A { /** @SLO target=99% */ static get g() { return 1 } }", "a.ts:1:15 jsdoc A.g 0.99"},
		{"constructor", "class A { /** @SLO target=99% */ constructor() {} }", "a.ts:1:15 jsdoc A.constructor 0.99"},
		{"class expression", "const A = class { /** @SLO target=99% */ m() {} }", "a.ts:1:23 jsdoc A.m 0.99"},
		{"interface member", "interface A { /** @SLO target=99% */ m(): void }", "a.ts:1:19 jsdoc A.m 0.99"},
		{"export default function", "/** @SLO target=99% */ export default function () {}", "a.ts:1:5 jsdoc 0.99"},
		{"export default async function", "/** @SLO target=99% */ export default async function f() {}", "a.ts:1:5 jsdoc f 0.99"},
		{"first of several variables", "/** @SLO target=99% */ export const a = 1, b = 2;", "a.ts:1:5 jsdoc a 0.99"},
		{"second variable", "const a = 1, /** @SLO target=99% */ b = 2;", "a.ts:1:18 jsdoc b 0.99"},
		{"pattern", "/** @SLO target=99% */ const { x: { y } } = z;", "a.ts:1:5 jsdoc y 0.99"},
		{"inside a function", "function f() {\n  /** @SLO target=99% */\n  g();\n}", "a.ts:2:7 jsdoc 0.99"},
		{"end of a block", "function f() {\n  g();\n  /** @SLO target=99% */\n}", "a.ts:3:7 jsdoc 0.99"},
		{"end of the file", "f();\n/** @SLO target=99% */\n", "a.ts:2:5 jsdoc 0.99"},
		{"nothing else", "/** @SLO target=99% */", "a.ts:1:5 jsdoc 0.99"},
		{"enum", "/** @SLO target=99% */ enum E { A }", "a.ts:1:5 jsdoc E 0.99"},
		{"namespace", "namespace N { /** @SLO target=99% */ export function f() {} }", "a.ts:1:19 jsdoc f 0.99"},
		{"between decorator and class", "@Injectable()\n/** @SLO target=99% */\nexport class A {}", "a.ts:2:5 jsdoc A 0.99"},
		{"property of an object", "const routes = { /** @SLO target=99% */ list() {} };", "a.ts:1:22 jsdoc list 0.99"},
		{"rules", "/** @SLO target=99% recordingRules=a:5m,b:1h */ function f() {}", "a.ts:1:5 jsdoc f 0.99 rules=[a:5m b:1h]"},
		{"rules as an expression", "/** @SLO target=99% recordingRules={['a:5m', `b:${1}h`]} */ function f() {}", "a.ts:1:5 jsdoc f 0.99 rules=[a:5m b:1h]"},
		{"decorator of a parameter", "import { SLO } from '@a/b';\nclass A { m(@SLO({ target: 0.99 }) x) {} }", "a.ts:2:13 decorator A.m 0.99"},
		{"decorator after export", "import { SLO } from '@a/b';\nexport default @SLO({ target: 0.99 }) class A {}", "a.ts:2:16 decorator A 0.99"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var got []string
			for _, d := range scanText(t, "-- a.ts --\n"+row.source+"\n").Declarations {
				got = append(got, brief(d))
			}
			if have := strings.Join(got, "\n"); have != row.want {
				t.Errorf("got  %s\nwant %s", have, row.want)
			}
		})
	}
}
