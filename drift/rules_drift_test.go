package drift

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// compared holds rule files against the availability contract.
func compared(t *testing.T, text string) Report {
	t.Helper()
	return RuleFiles(availability(t), fstest.MapFS{"r.yml": {Data: []byte(text)}}, []string{"r.yml"})
}

func availabilityRules(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("../rulegen/testdata/availability.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestStaleCopies(t *testing.T) {
	for name, test := range map[string]struct {
		old, now string
		want     []string
	}{
		"another target":      {"/ 0.005\n", "/ 0.001\n", []string{"recording error_budget:burn_rate:5m; want burn rate over 5m of a target of 99.5%; got burn rate over 5m of a target of 99.9%", "burn_rate:30m", "burn_rate:1h", "burn_rate:6h", "remaining:ratio", "fast tier; want burn rate 14.4x over 1h and 5m (7.2% of events failing, 2% of the 30d budget in 1h), 5 failures in 1h at least, severity page; got burn rate 2.88x over 1h and 5m (1.44% of events failing, 0.4% of the 30d budget in 1h), 5 failures", "got burn rate 1.2x over 6h and 30m"}},
		"another threshold":   {"> 14.4", "> 10", []string{"fast tier; want burn rate 14.4x over 1h and 5m (7.2% of events failing, 2% of the 30d budget in 1h), 5 failures in 1h at least, severity page; got burn rate 10x over 1h and 5m (5% of events failing"}},
		"another severity":    {"severity: page", "severity: ticket", []string{"got burn rate 14.4x over 1h and 5m (7.2% of events failing, 2% of the 30d budget in 1h), 5 failures in 1h at least, severity ticket", "medium"}},
		"another guard":       {">= 5", ">= 50", []string{"50 failures in 1h at least", "50 failures in 6h at least"}},
		"other events":        {`code=~"5.."`, `code=~"4..|5.."`, []string{"burn_rate:5m", "burn_rate:30m", "burn_rate:1h", "burn_rate:6h", "failures:1h", "failures:6h", "increase5m", "fast tier", "medium tier"}},
		"a tier is gone":      {"burn_tier: medium", "burn_tier: slow", []string{"missing: api/availability alert of the medium tier", "orphan: api/availability alert of the slow tier"}},
		"another SLO's name":  {"slo: availability", "slo: uptime", []string{"missing: api/availability alert of the fast tier", "missing: api/availability alert of the medium tier", "orphan", "orphan", "orphan", "orphan", "orphan", "orphan", "orphan", "orphan", "orphan", "orphan", "orphan", "no rule records it", "no rule records it", "no rule records it", "no rule records it", "no rule records it", "no rule records it"}},
		"matchers in order":   {`code=~"5..",service="api"`, `service="api",code=~"5.."`, []string{""}},
		"a computed budget":   {"/ 0.005\n", "/ (1 - 0.995)\n", []string{""}},
		"a computed factor":   {"> 14.4", "> (7.2 * 2)", []string{""}},
		"codes one by one":    {`code=~"5.."`, `code=~"5[0-9]{2}"`, []string{""}},
		"a recording is gone": {"record: error_budget:failures:6h", "record: other:failures:6h", []string{"missing: api/availability recording error_budget:failures:6h", "no rule records it"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := availabilityRules(t)
			changed := strings.ReplaceAll(text, test.old, test.now)
			if changed == text {
				t.Fatalf("%q is not there", test.old)
			}
			got := notSame(compared(t, changed))
			if len(got) != len(test.want) {
				t.Fatalf("got\n%s", strings.Join(got, "\n"))
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %s\nwant %s", got[i], want)
				}
			}
		})
	}
}

// sloth is what Sloth writes of the same SLO, but for the tickets.
func sloth(budget string) string {
	var b bytes.Buffer
	b.WriteString("groups:\n- name: sloth-slo-sli-recordings-api-availability\n  rules:\n")
	labels := "{sloth_id: api-availability, sloth_service: api, sloth_slo: availability, sloth_window: %[1]s}"
	for _, w := range []string{"5m", "30m", "1h", "6h"} {
		fmt.Fprintf(&b, "  - {record: 'slo:sli_error:ratio_rate%[1]s', expr: '(sum(rate(http_requests_total{code=~\"5..\"}[%[1]s]))) / (sum(rate(http_requests_total[%[1]s])))', labels: "+labels+"}\n", w)
	}
	b.WriteString("- name: sloth-slo-alerts-api-availability\n  rules:\n  - alert: ApiErrors\n    labels: {sloth_severity: page}\n    expr: |\n")
	ids := `{sloth_id="api-availability", sloth_service="api", sloth_slo="availability"}`
	pair := func(short, long, factor string) string {
		return fmt.Sprintf("(max(slo:sli_error:ratio_rate%s%s > (%s * %s)) without (sloth_window) and max(slo:sli_error:ratio_rate%s%s > (%s * %s)) without (sloth_window))", short, ids, factor, budget, long, ids, factor, budget)
	}
	b.WriteString("      " + pair("5m", "1h", "14.4") + " or " + pair("30m", "6h", "6") + "\n")
	return b.String()
}

func TestSlothRules(t *testing.T) {
	r := compared(t, sloth("0.0050000000000000044"))
	if drifting, all := r.Share(); drifting != 0 || all != 2 || len(r.Findings) != 0 {
		t.Errorf("%d of %d drift:\n%s", drifting, all, facts(r))
	}
	r = compared(t, sloth("0.0009999999999999432"))
	if drifting, all := r.Share(); drifting != 2 || all != 2 || !strings.Contains(facts(r), "got burn rate 2.88x over 1h and 5m (1.44% of events failing, 0.4% of the 30d budget in 1h)") {
		t.Errorf("%d of %d drift:\n%s", drifting, all, facts(r))
	}
	r = compared(t, strings.ReplaceAll(strings.ReplaceAll(sloth("0.005"), "sloth_slo: availability", "sloth_slo: gone"), `sloth_slo="availability"`, `sloth_slo="gone"`))
	if drifting, _ := r.Share(); drifting != 6 || !strings.Contains(facts(r), "orphan: api/gone recording slo:sli_error:ratio_rate5m") {
		t.Errorf("a Sloth SLO that no contract has:\n%s", facts(r))
	}
}

func TestPyrraRules(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("groups:\n- name: availability\n  interval: 30s\n  rules:\n")
	for _, w := range []string{"5m", "1h"} {
		fmt.Fprintf(&b, "  - {record: 'http_requests:burnrate%[1]s', labels: {job: api, slo: availability}, expr: 'sum(rate(http_requests_total{code=~\"5..\",job=\"api\"}[%[1]s])) / sum(rate(http_requests_total{job=\"api\"}[%[1]s]))'}\n", w)
	}
	b.WriteString("  - {alert: ErrorBudgetBurn, for: 2m0s, labels: {severity: critical, short: 5m, long: 1h, slo: availability, exhaustion: 2d}, expr: 'http_requests:burnrate5m{job=\"api\",slo=\"availability\"} > (14 * (1-0.995)) and http_requests:burnrate1h{job=\"api\",slo=\"availability\"} > (14 * (1-0.995))'}\n")
	got := notSame(compared(t, b.String()))
	want := []string{
		"differs: api/availability threshold of the fast tier, alert ErrorBudgetBurn; want burn rate 14.4x over 1h and 5m (7.2% of events failing, 2% of the 30d budget in 1h); got burn rate 14x over 1h and 5m (7% of events failing, 1.94444444444% of the 30d budget in 1h) @ r.yml:7:6",
		"missing: api/availability alert of the medium tier",
	}
	if len(got) != 2 || got[0] != want[0] || !strings.HasPrefix(got[1], want[1]) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestHandWrittenAlertsBesideTheGenerated(t *testing.T) {
	for name, test := range map[string]struct{ expr, want string }{
		"one window":   {`sum(rate(http_requests_total{service="api",code=~"5.."}[5m])) / sum(rate(http_requests_total{service="api"}[5m])) > 0.05`, "differs: api/availability alert HighBurnRate; want burn rate 14.4x over 1h and 5m (7.2% of events failing, 2% of the 30d budget in 1h) or burn rate 6x over 6h and 30m (3% of events failing, 5% of the 30d budget in 6h); got burn rate 10x over 5m alone (5% of events failing, 0.115740740741% of the 30d budget in 5m) @"},
		"no share":     {`sum(rate(http_requests_total{service="api",code=~"5.."}[5m])) > 0.05`, "got 15 failures in 5m alone, whatever the traffic @"},
		"with a hold":  {`error_budget:burn_rate:1h{slo="availability"} > 2`, "got burn rate 2x over 1h alone"},
		"always fires": {`error_budget:burn_rate:1h{slo="availability"} > bool 2`, "alert HighBurnRate fires whatever the value is"},
		"unrecorded":   {`error_budget:burn_rate:2h{slo="availability"} > 2`, "got burn rate 2x over 2h alone"},
		"not ours":     {`up == 0`, ""},
		"other's":      {`sum(rate(http_requests_total{service="search",code=~"5.."}[5m])) / sum(rate(http_requests_total{service="search"}[5m])) > 0.05`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			extra := "  - name: by hand\n    rules:\n      - alert: HighBurnRate\n        expr: '" + test.expr + "'\n"
			got := notSame(compared(t, availabilityRules(t)+extra))
			if !strings.Contains(got[0], test.want) || test.want == "" && got[0] != "" {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestOperatorResources(t *testing.T) {
	text := "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nspec:\n  groups:" + strings.ReplaceAll(strings.SplitN(availabilityRules(t), "groups:", 2)[1], "\n", "\n  ")
	if got := notSame(compared(t, text)); got[0] != "" {
		t.Errorf("got %s", got)
	}
}

func FuzzRuleFiles(f *testing.F) {
	f.Add([]byte(availabilityRules(f)))
	f.Add([]byte(sloth("0.005")))
	f.Add([]byte("groups: [{name: a, rules: [{alert: x, expr: 'rate(http_requests_total[5m]) > bool 1', for: 1m}, {record: 'a:b', expr: 'a:b ^ 2'}]}]"))
	f.Add([]byte("a: &a {<<: *a}\ngroups: *a"))
	f.Add([]byte("groups: [{<<: [{rules: [{record: x, expr: '1/0'}]}]}]"))
	c := availability(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		r := RuleFiles(c, fstest.MapFS{"r.yml": {Data: text}}, []string{"r.yml"})
		if len(r.Facts) < 2 {
			t.Errorf("the tiers are gone:\n%s", facts(r))
		}
		for _, finding := range r.AllFindings() {
			if finding.Rule == "" || finding.Message == "" || strings.ContainsAny(finding.String(), "\n\x1b") {
				t.Errorf("finding %q", finding)
			}
		}
	})
}

func FuzzExpression(f *testing.F) {
	for _, seed := range []string{
		`sum(rate(http_requests_total{code=~"5.."}[5m])) / sum(rate(http_requests_total[5m])) > 0.05`, `1 - x < 0.928`, `(x > bool 1) * (y > bool 2) == 1`,
		`-x ^ 2 > 1e308 * 1e308`, `0 / 0 < x`, `max_over_time((x > 1)[1h:5m])`, `histogram_fraction(0, 0.3, sum(rate(x[5m]))) < 0.9`, `x unless y or z and a`,
	} {
		f.Add(seed)
	}
	p := promises(availability(f))[0]
	f.Fuzz(func(t *testing.T, text string) {
		expr, err := parseExpr(text)
		if err != nil {
			return
		}
		held := comparison{ruleset: &ruleset{}}
		conditions := held.termsOf(p).conditions(expr)
		if len(conditions) == 0 || len(conditions) > maxBranches {
			t.Errorf("%s: %d branches", text, len(conditions))
		}
		shape(p, conditions)
		first := normal(expr)
		if again, err := parseExpr(first); err == nil && normal(again) != first {
			t.Errorf("%s is normal as %s, and that as %s", text, first, normal(again))
		}
	})
}
