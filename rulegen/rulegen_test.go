package rulegen

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/slowburn/slowburn/fixtures"
	"github.com/slowburn/slowburn/slo"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func availability() slo.Objective {
	return slo.Objective{
		Service: "api", Name: "availability", Target: 0.995, MinFailures: slo.DefaultMinFailures,
		Indicator: slo.Availability{Errors: `http_requests_total{code=~"5.."}`, Total: "http_requests_total"},
		Tenant:    slo.Tenant{Dynamic: "context.tenantId", Label: "tenant"},
		Declared:  []slo.Position{{File: "services/api/src/api.ts", Line: 12, Col: 4}},
	}
}

func latency(metric string, native bool) slo.Objective {
	o := availability()
	o.Name, o.Target = "latency", 0.999
	o.Indicator = slo.Latency{Metric: metric, Threshold: 300 * time.Millisecond, Native: native}
	return o
}

// worlds are the objectives whose rules and promtool tests stand in testdata, where promtool checks them too.
func worlds() map[string][]slo.Objective {
	sre := availability()
	sre.Policy, _ = slo.PolicyNamed("sre")
	sre.Record = []time.Duration{15 * time.Minute}
	pinned := availability()
	pinned.Tenant = slo.Tenant{Static: `ac"me{{x}}`, Label: "tenant.id"}
	pinned.MinFailures = 0
	untenanted := availability()
	untenanted.Tenant = slo.Tenant{}
	untenanted.RunbookURL = "https://runbooks.example/{{api}}"
	demo := availability()
	demo.Policy = slo.DefaultPolicy().Scale(1.0 / 60)
	demo.Policy.Tiers[0].For = 5 * time.Second
	return map[string][]slo.Objective{
		"availability": {availability()},
		"sre":          {sre},
		"pinned":       {pinned},
		"untenanted":   {untenanted},
		"scaled":       {demo},
		"buckets":      {latency("http_request_duration_seconds", false)},
		"milliseconds": {latency(`shop_http_request_duration_ms{route!="/health"}`, false)},
		"native":       {latency("http_request_duration_seconds", true)},
	}
}

func TestCompileWorlds(t *testing.T) {
	for name, objectives := range worlds() {
		t.Run(name, func(t *testing.T) {
			groups, err := Compile(objectives, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var rules, tests bytes.Buffer
			if err := WriteRules(&rules, groups); err != nil {
				t.Fatal(err)
			}
			if err := WriteTests(&tests, objectives, name+".rules.yml", Options{}); err != nil {
				t.Fatal(err)
			}
			compare(t, name+".rules.yml", rules.Bytes())
			compare(t, name+".test.yml", tests.Bytes())
		})
	}
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs (go test ./rulegen -update, then read the diff):\n%s", path, got)
	}
}

func TestCompileRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*slo.Objective)
		want   string
	}{
		"target above 1":    {func(o *slo.Objective) { o.Target = 1.2 }, "services/api/src/api.ts:12:4: objective api/availability: target 1.2 outside (0, 1)"},
		"no metric":         {func(o *slo.Objective) { o.Indicator = slo.Unnamed{} }, "names no metric"},
		"not a selector":    {func(o *slo.Objective) { o.Indicator = slo.Availability{Errors: "rate(x[5m])", Total: "x"} }, "errors: selector"},
		"several metrics":   {func(o *slo.Objective) { o.Indicator = slo.Availability{Errors: `{__name__=~"x|y"}`, Total: "x"} }, "name one"},
		"unknown tenant":    {func(o *slo.Objective) { o.Tenant.Label = "" }, "tenant label is not known"},
		"latency threshold": {func(o *slo.Objective) { o.Indicator = slo.Latency{Metric: "x"} }, "not above 0"},
	} {
		t.Run(name, func(t *testing.T) {
			o := availability()
			tc.change(&o)
			groups, err := Compile([]slo.Objective{o, availability()}, Options{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
			if len(groups.Groups) != 2 {
				t.Errorf("%d groups, want the 2 of the sound objective", len(groups.Groups))
			}
		})
	}
}

func TestCompileIsStable(t *testing.T) {
	var first []byte
	for range 20 {
		groups, err := Compile(worlds()["sre"], Options{})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := WriteRules(&b, groups); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b.Bytes()
		}
		if !bytes.Equal(first, b.Bytes()) {
			t.Fatal("the same objectives gave other bytes")
		}
	}
}

func TestResolve(t *testing.T) {
	unnamed := availability()
	unnamed.Indicator = slo.Unnamed{}
	unnamed.Tenant.Label = ""
	instrumented := unnamed
	instrumented.Indicator = slo.Unnamed{Instrument: true}
	for name, tc := range map[string]struct {
		in      slo.Objective
		catalog Catalog
		want    slo.Indicator
		tenant  string
		finding string
	}{
		"nothing known": {unnamed, nil,
			slo.Availability{Errors: `http_requests_total{status_code=~"5.."}`, Total: "http_requests_total"}, "tenant_id", "assumed"},
		"prom-client by hand": {unnamed, Catalog{"shop_http_requests_total": {"org_id", "code", "route"}},
			slo.Availability{Errors: `shop_http_requests_total{code=~"5.."}`, Total: "shop_http_requests_total"}, "org_id", ""},
		"express-prom-bundle": {unnamed, Catalog{"http_request_duration_seconds_count": {"tenant_id", "status_code"}},
			slo.Availability{Errors: `http_request_duration_seconds_count{status_code=~"5.."}`, Total: "http_request_duration_seconds_count"}, "tenant_id", ""},
		"OpenTelemetry": {unnamed, Catalog{"http_server_request_duration_seconds_count": {"tenant_id", "http_response_status_code"}},
			slo.Availability{Errors: `http_server_request_duration_seconds_count{http_response_status_code=~"5.."}`, Total: "http_server_request_duration_seconds_count"}, "tenant_id", ""},
		"our own library": {instrumented, Catalog{"error_budget_events_total": {"slo", "tenant", "outcome"}},
			slo.Availability{Errors: `error_budget_events_total{outcome="bad",slo="availability"}`, Total: `error_budget_events_total{slo="availability"}`}, "tenant", ""},
		"no request metric": {unnamed, Catalog{"up": {"job"}}, nil, "", "none of the known series"},
		"no status label":   {unnamed, Catalog{"http_requests_total": {"tenant"}}, nil, "", "no status label"},
		"no tenant label":   {unnamed, Catalog{"http_requests_total": {"code"}}, nil, "", "none of the labels"},
	} {
		t.Run(name, func(t *testing.T) {
			settled, findings := Resolve([]slo.Objective{tc.in}, tc.catalog)
			if (tc.finding == "") != (len(findings) == 0) {
				t.Fatalf("findings %v, want %q", findings, tc.finding)
			}
			if tc.finding != "" && !strings.Contains(findings[0].Message, tc.finding) {
				t.Errorf("finding %q, want %q in it", findings[0].Message, tc.finding)
			}
			if (tc.want == nil) != (len(settled) == 0) {
				t.Fatalf("settled %v, want %v", settled, tc.want)
			}
			if tc.want != nil && (settled[0].Indicator != tc.want || settled[0].Tenant.Label != tc.tenant) {
				t.Errorf("settled on %v by %q, want %v by %q", settled[0].Indicator, settled[0].Tenant.Label, tc.want, tc.tenant)
			}
		})
	}
}

// TestResolveRefusesTiersThatNeverFire: a total outage burns 1/(1 - target) times.
func TestResolveRefusesTiersThatNeverFire(t *testing.T) {
	for _, row := range []struct {
		target       slo.Target
		policy       string
		want, remedy string
	}{
		{0.995, "sre", "", ""},
		{0.931, "default", "", ""}, // 14.49x
		{0.93, "default", "fast above 14.4x, and a total outage of a 93% target burns at 14.285714285714286x", "write burnRateThreshold: '12x'"},
		{0.9, "default", "fast above 14.4x, and a total outage of a 90% target burns at 10x", "write burnRateThreshold: '9x'"},
		{0.9, "sre", "fast above 14.4x, and", "write burnRateThreshold: '9x'"},
		{0.8, "default", "fast above 14.4x and medium above 6x, and a total outage of a 80% target burns at 5x", "write policy: 'lenient', whose tiers fire above 4x and 2x"},
		{0.8, "lenient", "", ""},
		{0.75, "lenient", "fast above 4x, and a total outage of a 75% target burns at 4x", "write burnRateThreshold: '3.6x'"},
		{0.5, "lenient", "fast above 4x and medium above 2x", "raise the target"},
	} {
		o := availability()
		o.Target = row.target
		policy, err := slo.PolicyNamed(row.policy)
		if err != nil {
			t.Fatal(err)
		}
		o.Policy = policy
		settled, findings := Resolve([]slo.Objective{o}, nil)
		if row.want == "" {
			if len(settled) != 1 || len(findings) != 0 {
				t.Errorf("%v %s: %v", row.target, row.policy, findings)
			}
			continue
		}
		if len(settled) != 0 || len(findings) != 1 || findings[0].Rule != RuleUnreachable || findings[0].Severity != slo.Error ||
			!strings.Contains(findings[0].Message, row.want) || !strings.HasPrefix(findings[0].Remedy, row.remedy) {
			t.Errorf("%v %s: settled %d, %v; want %q: %q", row.target, row.policy, len(settled), findings, row.want, row.remedy)
		}
	}
}

// TestRemediesCanFire: what SB063 advises is below the limit, for any target it advises a threshold for.
func TestRemediesCanFire(t *testing.T) {
	for target := 0.51; target < 0.999; target += 0.007 {
		for tier := range 2 {
			o := availability()
			o.Target, o.Window, o.Policy = slo.Target(target), slo.DefaultWindow, slo.DefaultPolicy()
			if f := belowLimit(o, tier); !(f < o.Target.MaxBurnRate()) || f < 0.7*o.Target.MaxBurnRate() {
				t.Errorf("%v tier %d: advised %gx of at most %gx", target, tier, f, o.Target.MaxBurnRate())
			}
		}
	}
}

// TestInstrumentIsReadByItsOwnNames holds resolve to the file that the npm package is tested with.
func TestInstrumentIsReadByItsOwnNames(t *testing.T) {
	signals := fixtures.Signals()
	metric, ok := signals.Metric(instrumentEvents)
	if !ok || !slices.Equal(metric.Labels, []string{"slo", "tenant", "outcome"}) || signals.Outcomes.Bad != "bad" {
		t.Errorf("the library's events are %+v, their bad outcome %q", metric, signals.Outcomes.Bad)
	}
	slow := availability()
	slow.Indicator = slo.Unnamed{Instrument: true, Threshold: time.Second}
	settled, _ := Resolve([]slo.Objective{slow}, nil)
	want := slo.Availability{Errors: `error_budget_events_total{outcome="bad",slo="availability"}`, Total: `error_budget_events_total{slo="availability"}`}
	if settled[0].Indicator != want {
		t.Errorf("a latency SLO of the library is settled on %v, want %v", settled[0].Indicator, want)
	}
}

func TestResolveFindsNativeHistogram(t *testing.T) {
	settled, _ := Resolve([]slo.Objective{latency("x_seconds", false)}, Catalog{"x_seconds": {"tenant"}})
	if i := settled[0].Indicator.(slo.Latency); !i.Native {
		t.Error("a histogram without buckets was not taken for a native one")
	}
}

func TestWriteInhibit(t *testing.T) {
	sre := worlds()["sre"][0]
	var b bytes.Buffer
	if err := WriteInhibit(&b, []slo.Objective{sre, sre}); err != nil {
		t.Fatal(err)
	}
	compare(t, "sre.inhibit.yml", b.Bytes())
}

func TestWriteOperator(t *testing.T) {
	groups, err := Compile([]slo.Objective{availability(), latency("x", false)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteOperator(&b, groups); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "kind: PrometheusRule"); n != 1 {
		t.Errorf("%d resources for one service", n)
	}
}

// FuzzCompile holds that whatever a contract says either is refused or gives rules that load.
func FuzzCompile(f *testing.F) {
	f.Add(`http_requests_total{code=~"5.."}`, "http_requests_total", "tenant", "acme", "api")
	f.Add(`x{a="\""}`, `{"x.y"}`, "tenant id", "{{", "a`b{{.}}\n%q")
	f.Fuzz(func(t *testing.T, errs, total, label, tenant, service string) {
		o := availability()
		o.Service, o.Indicator = service, slo.Availability{Errors: errs, Total: total}
		o.Tenant = slo.Tenant{Label: label, Static: tenant}
		groups, err := Compile([]slo.Objective{o}, Options{})
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteRules(&b, groups); err != nil {
			t.Fatal(err)
		}
		if _, faults := rulefmt.Parse(b.Bytes(), false, model.UTF8Validation, promqlParser(), nil); len(faults) > 0 {
			t.Fatalf("%v\n%s", faults, b.String())
		}
	})
}

// TestPromtoolAgrees runs the oracle: every file of testdata loads, and every generated test passes.
func TestPromtoolAgrees(t *testing.T) {
	promtool := promtoolBinary(t)
	for _, args := range [][]string{{"check", "rules"}, {"test", "rules"}} {
		pattern := map[string]string{"check": "testdata/*.rules.yml", "test": "testdata/*.test.yml"}[args[0]]
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		out, err := exec.CommandContext(t.Context(), promtool, append(args, files...)...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// promtoolBinary finds the promtool of our own Prometheus version, which make tools builds into bin/.
func promtoolBinary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../bin/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("bin/promtool is missing: run make tools")
	}
	t.Skip("bin/promtool is missing: run make tools")
	return ""
}
