package contract

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slowburn/slowburn/slo"
)

// line is an objective on one line.
func line(o slo.Objective) string {
	var factors []string
	for _, tier := range o.Policy.Tiers {
		factors = append(factors, fmt.Sprintf("%s=%s", tier.Name, slo.FormatNumber(tier.Factor)))
	}
	s := fmt.Sprintf("%s %v over %s, %+v, %s", o.ID(), o.Target, slo.FormatWindow(o.Window), o.Indicator, strings.Join(factors, " "))
	if !o.Tenant.IsZero() {
		s += fmt.Sprintf(", tenant %q %q %q", o.Tenant.Static, o.Tenant.Dynamic, o.Tenant.Label)
	}
	for _, w := range o.Record {
		s += ", record " + slo.FormatWindow(w)
	}
	if o.MinFailures != slo.DefaultMinFailures {
		s += fmt.Sprintf(", at least %d", o.MinFailures)
	}
	for _, p := range o.Declared {
		s += ", " + p.String()
	}
	return s
}

// TestObjectives: declarations in, objectives and findings out, one a line.
func TestObjectives(t *testing.T) {
	rows := []struct{ name, tree, want string }{
		{"an availability SLO in full",
			"-- a.ts --\n/** @SLO availability target=99.5% window=28d errors=http_requests_total{code=~\"5..\"} total=http_requests_total tenantLabel=tenant minFailures=0 recordingRules=x:2h,x:5m */\nexport class A {}\n",
			`api/availability 99.5% over 28d, {Errors:http_requests_total{code=~"5.."} Total:http_requests_total}, fast=14.4 medium=6, tenant "" "context.tenantId" "tenant", record 5m, record 2h, at least 0, a.ts:1:5`},
		{"a latency SLO",
			"-- a.ts --\nimport { SLO } from 'x';\n@SLO({ target: 0.999, threshold: '300ms', metric: 'http_request_duration_seconds' })\nclass S {}\n",
			"api/latency 99.9% over 30d, {Metric:http_request_duration_seconds Threshold:300ms Native:false}, fast=14.4 medium=6, a.ts:2:1"},
		{"our library's counters",
			"-- a.ts --\nimport { ErrorBudgetInstrument } from 'x';\nnew ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: 0.08, tenantId: context.tenantId, recordingRules: ['error_budget:burn_rate:5m'] });\n",
			`api/availability 99.5% over 30d, {Instrument:true Threshold:0s}, fast=16 medium=6, tenant "" "context.tenantId" "tenant", record 5m, a.ts:2:1`},
		{"a tag without a metric", "-- a.ts --\n/** @SLO target=99% tenant=acme */\nf();\n", `api/availability 99% over 30d, {Instrument:false Threshold:0s}, fast=14.4 medium=6, tenant "acme" "" "", a.ts:1:5`},
		{"a metric alone", "-- a.ts --\n/** @SLO target=99% metric=requests_total */\nf();\n", "api/availability 99% over 30d, {Errors: Total:requests_total}, fast=14.4 medium=6, a.ts:1:5"},
		{"a service of its own", "-- a.ts --\n/** @SLO target=99% service=shop policy=sre */\nf();\n", "shop/availability 99% over 30d, {Instrument:false Threshold:0s}, fast=14.4 medium=6 slow=3 long=1, a.ts:1:5"},
		{"a budget in time", "-- a.ts --\n/** @SLO target=99% burnRateThreshold={budget: '10%', within: '1d'} */\nf();\n", "api/availability 99% over 30d, {Instrument:false Threshold:0s}, fast=14.4 medium=6 contract=3, a.ts:1:5"},
		{"two places, one SLO",
			"-- a.ts --\n/** @SLO target=99.5% errors=e total=t burnRateThreshold=8% */\nf();\n-- b.ts --\nimport { ErrorBudgetInstrument } from 'x';\nnew ErrorBudgetInstrument({ sloTarget: 0.995, burnRateThreshold: 16, window: '30d' });\n",
			"api/availability 99.5% over 30d, {Errors:e Total:t}, fast=16 medium=6, a.ts:1:5, b.ts:2:1"},
		{"a target said elsewhere",
			"-- a.ts --\n/** @SLO availability errors=e total=t */\nf();\n-- b.ts --\n/** @SLO target=99% */\ng();\n",
			"api/availability 99% over 30d, {Errors:e Total:t}, fast=14.4 medium=6, a.ts:1:5, b.ts:1:5"},
		{"a target said nowhere", "-- a.ts --\n/** @SLO availability errors=e total=t */\nf();\n", "SB002 a.ts:1:5"},
		{"two places that disagree",
			"-- a.ts --\n/** @SLO target=99.5% */\nf();\n-- b.ts --\n/** @SLO target=99% window=7d */\ng();\n",
			"SB011 b.ts:1:5 [a.ts:1:5]"},
		{"a sound one and a broken one are no objective", "-- a.ts --\n/** @SLO target=99.5% */\nf();\n-- b.ts --\n/** @SLO target=99.5 */\ng();\n", "SB006 b.ts:1:17"},
		{"every fault of one declaration", "-- a.ts --\n/** @SLO taget=99.5% window=soon threshold=300 */\nf();\n", "SB002 a.ts:1:5\nSB009 a.ts:1:10\nSB016 a.ts:1:29\nSB005 a.ts:1:44"},
		{"errors without total", "-- a.ts --\n/** @SLO target=99.5% errors=e */\nf();\n", "SB014 a.ts:1:5"},
		{"a threshold that can't fire, by another's target", "-- a.ts --\n/** @SLO target=90% */\nf();\n-- b.ts --\n/** @SLO availability burnRateThreshold=14.4x */\ng();\n", "SB007 b.ts:1:5"},
		{"a threshold below the budget", "-- a.ts --\n/** @SLO target=90% burnRateThreshold=8% */\nf();\n", "api/availability 90% over 30d, {Instrument:false Threshold:0s}, fast=0.8 medium=6, a.ts:1:5\nSB008 a.ts:1:39"},
		{"a rule without a window", "-- a.ts --\n/** @SLO target=90% recordingRules=burn */\nf();\n", "api/availability 90% over 30d, {Instrument:false Threshold:0s}, fast=14.4 medium=6, a.ts:1:5\nSB010 a.ts:1:36"},
		{"suppressed", "-- a.ts --\n// slowburn-ignore SB008: it is meant so\n/** @SLO target=90% burnRateThreshold=8% */\nf();\n", "api/availability 90% over 30d, {Instrument:false Threshold:0s}, fast=0.8 medium=6, a.ts:2:5"},
		{"suppressed on its line", "-- a.ts --\n/** @SLO target=90% burnRateThreshold=8% */ f(); // slowburn-ignore SB010, SB008: it is meant so\n", "api/availability 90% over 30d, {Instrument:false Threshold:0s}, fast=0.8 medium=6, a.ts:1:5"},
		{"suppressed without a reason", "-- a.ts --\n// slowburn-ignore SB008\n/** @SLO target=90% burnRateThreshold=8% */\nf();\n", "api/availability 90% over 30d, {Instrument:false Threshold:0s}, fast=0.8 medium=6, a.ts:2:5\nSB008 a.ts:2:39\nSB030 a.ts:1:4"},
		{"suppressed by an id that is none", "-- a.ts --\n// slowburn-ignore SB999: why\n/** @SLO target=90% */\nf();\n", "api/availability 90% over 30d, {Instrument:false Threshold:0s}, fast=14.4 medium=6, a.ts:2:5\nSB030 a.ts:1:4"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := scanText(t, "-- package.json --\n{ \"name\": \"api\" }\n"+row.tree)
			objectives, findings := r.Objectives(ObjectiveOptions{})
			var got []string
			for _, o := range objectives {
				got = append(got, line(o))
			}
			for _, f := range append(findings, r.Findings...) {
				s := f.Rule + " " + f.Pos.String()
				if f.Related != nil {
					s += fmt.Sprint(" ", f.Related)
				}
				got = append(got, s)
			}
			if have := strings.Join(got, "\n"); have != row.want {
				t.Errorf("got\n%s\nwant\n%s\n%v", have, row.want, findings)
			}
		})
	}
}

// TestServiceOfDeclaration: the declaration's own word wins, then the caller's, then the nearest package's; where
// none has one, it is a finding.
func TestServiceOfDeclaration(t *testing.T) {
	r := scanText(t, "-- a.ts --\n/** @SLO target=99% */\nf();\n-- b/package.json --\n{ \"name\": \"b\" }\n-- b/c/package.json --\n{ \"private\": true }\n-- b/c/d.ts --\n/** @SLO target=99% */\nf();\n")
	objectives, findings := r.Objectives(ObjectiveOptions{})
	if len(objectives) != 1 || objectives[0].Service != "b" || len(findings) != 1 || findings[0].Rule != ruleNoService {
		t.Errorf("%v %v", objectives, findings)
	}
	objectives, findings = r.Objectives(ObjectiveOptions{ServiceOf: func(file string) string { return "of " + file }, TenantLabel: "org_id"})
	if len(objectives) != 2 || objectives[0].Service != "of a.ts" || len(findings) != 0 {
		t.Errorf("%v %v", objectives, findings)
	}
}

// TestExplain: the way to a value, with a place for each step.
func TestExplain(t *testing.T) {
	r := scanText(t, "-- svc.ts --\n"+importOurs+"import { T } from './cfg';\nexport const a = new ErrorBudgetInstrument({\n  sloTarget: Number(process.env.SLO ?? T),\n  window: W(),\n});\n-- cfg/index.ts --\nexport * from './t';\n-- cfg/t.ts --\nexport const T = 1 - 0.005;\n")
	steps, ok := r.Explain("svc.ts", 5)
	if !ok {
		t.Fatal("nothing is explained")
	}
	var got []string
	for _, s := range steps {
		got = append(got, fmt.Sprintf("%s %s: %s", s.Pos, s.Field, s.Text))
	}
	want := `svc.ts:2:10 sloTarget: T comes from cfg/index.ts
cfg/t.ts:1:14 sloTarget: T is declared here
cfg/index.ts:1:1 sloTarget: T comes from cfg/t.ts
svc.ts:4:14 sloTarget: is 0.995, unless the environment variable SLO is set
svc.ts:5:11 window: can't be resolved: the call of W returns it at run time`
	if have := strings.Join(got, "\n"); have != want {
		t.Errorf("got\n%s\nwant\n%s", have, want)
	}
	if _, ok := r.Explain("svc.ts", 1); ok {
		t.Error("a line without a declaration is explained")
	}
}
