package drift

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

// generated reads rules that rulegen's own test holds to be right.
func generated(t testing.TB, name string) *rulefmt.RuleGroups {
	t.Helper()
	text, err := os.ReadFile("../rulegen/testdata/" + name + ".rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var groups rulefmt.RuleGroups
	if err := yaml.Unmarshal(text, &groups); err != nil {
		t.Fatal(err)
	}
	return &groups
}

// availability is the contract of the service api: 99.5 % of requests, the default policy.
func availability(t testing.TB) Contract {
	return Contract{
		Groups: generated(t, "availability"),
		Objectives: []slo.Objective{{
			Service: "api", Name: "availability", Target: 0.995, Window: slo.DefaultWindow, Policy: slo.DefaultPolicy(), MinFailures: 5,
			Indicator: slo.Availability{Errors: `http_requests_total{code=~"5.."}`, Total: "http_requests_total"},
			Tenant:    slo.Tenant{Dynamic: "context.tenantId", Label: "tenant"},
			Declared:  []slo.Position{{File: "services/api/src/api.ts", Line: 12}},
		}},
		Services: []Service{{Name: "api", Pos: slo.Position{File: "compose.yaml", Line: 4}}},
	}
}

// latency is the contract of a classic histogram: 99.9 % under 300 ms.
func latency(t testing.TB) Contract {
	c := availability(t)
	c.Groups = generated(t, "buckets")
	o := &c.Objectives[0]
	o.Name, o.Target = "latency", 0.999
	o.Indicator = slo.Latency{Metric: "http_request_duration_seconds", Threshold: 300 * time.Millisecond}
	return c
}

// facts prints what was compared, one a line.
func facts(r Report) string {
	var b strings.Builder
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "%s: %s/%s %s", f.Verdict, f.Service, f.SLO, f.Subject)
		if f.Verdict != Same {
			fmt.Fprintf(&b, "; want %s; got %s", f.Want, f.Got)
		}
		fmt.Fprintf(&b, " @ %s\n", f.There)
	}
	for _, f := range r.Findings {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

func TestGeneratedRulesAreTheSame(t *testing.T) {
	for name, c := range map[string]Contract{"availability": availability(t), "buckets": latency(t)} {
		text, err := os.ReadFile("../rulegen/testdata/" + name + ".rules.yml")
		if err != nil {
			t.Fatal(err)
		}
		r := RuleFiles(c, fstest.MapFS{"r.yml": {Data: text}}, []string{"r.yml"})
		if drifting, compared := r.Share(); drifting != 0 || compared != 11 || len(r.Findings) != 0 {
			t.Errorf("%s: %d of %d drift:\n%s", name, drifting, compared, facts(r))
		}
	}
}

// Every shape in which people write the same threshold, and what it is in the contract's own terms.
func TestThresholdWhateverItsShape(t *testing.T) {
	const (
		ratio5m = `sum(rate(http_requests_total{service="api",code=~"5.."}[5m])) / sum(rate(http_requests_total{service="api"}[5m]))`
		good5m  = `sum(rate(http_requests_total{service="api",code!~"5.."}[5m])) / sum(rate(http_requests_total{service="api"}[5m]))`
	)
	for _, test := range []struct{ expr, want string }{
		{ratio5m + ` > 0.072`, "14.4 over 5m0s"},
		{ratio5m + ` > (14.4 * 0.005)`, "14.4 over 5m0s"},
		{ratio5m + ` > 14.4 * (1 - 0.995)`, "14.4 over 5m0s"},
		{ratio5m + ` >= 0.072`, "14.4 over 5m0s"},
		{ratio5m + ` > (14.4 * 0.0050000000000000044)`, "14.4 over 5m0s"},
		{`0.072 < ` + ratio5m, "14.4 over 5m0s"},
		{`(` + ratio5m + `) / 0.005 > 14.4`, "14.4 over 5m0s"},
		{`(` + ratio5m + `) / (1 - 0.995) > 14.4`, "14.4 over 5m0s"},
		{`(` + ratio5m + `) * 100 > 7.2`, "14.4 over 5m0s"},
		{`100 * (` + ratio5m + `) > 7.2`, "14.4 over 5m0s"},
		{`-(` + ratio5m + `) < -0.072`, "14.4 over 5m0s"},
		{`1 - (` + ratio5m + `) < 0.928`, "14.4 over 5m0s"},
		{`1 - (` + good5m + `) > 0.072`, "14.4 over 5m0s"},
		{good5m + ` < 0.928`, "14.4 over 5m0s"},
		{`(1 - ` + good5m + `) / 0.005 > 14.4`, "14.4 over 5m0s"},
		{`sum by (tenant) (rate(http_requests_total{code=~"5..",service="api"}[1h])) / ignoring(code) sum by (tenant) (rate(http_requests_total{service="api"}[1h])) > 0.03`, "6 over 1h0m0s"},
		{`rate(http_requests_total{code=~"5.."}[5m]) / on(tenant) group_left rate(http_requests_total[5m]) > 0.05`, "10 over 5m0s"},
		{`increase(http_requests_total{code=~"^5..$"}[5m]) / increase(http_requests_total[5m]) > 0.05`, "10 over 5m0s"},
		{`sum(rate(http_requests_total{code=~"50.|51.|52.|53.|54.|55.|56.|57.|58.|59."}[5m])) / sum(rate(http_requests_total[5m])) > 0.05`, "10 over 5m0s"},
		{`sum(rate(http_requests_total{code="5xx"}[5m])) / sum(rate(http_requests_total[5m])) > 0.05`, "10 over 5m0s"},
		{`(sum(rate(http_requests_total{code=~"5.."}[5m])) or vector(0)) / (sum(rate(http_requests_total[5m])) > 0) > 0.05`, "10 over 5m0s"},
		{`(sum(rate(http_requests_total{code=~"5.."}[5m])) or sum(rate(http_requests_total[5m])) * 0) / sum(rate(http_requests_total[5m])) > 0.05`, "10 over 5m0s"},
		{`(` + ratio5m + ` > bool 0.05) == 1`, "10 over 5m0s"},
		{`(` + ratio5m + ` > bool 0.05) > 0`, "10 over 5m0s"},
		{`(` + ratio5m + ` > bool 0.05) * (` + ratio5m + ` > bool 0.06) == 1`, "10 over 5m0s + 12 over 5m0s"},
		{ratio5m + ` > bool 0.05`, "always"},
		{`(` + ratio5m + ` > 0.05) * 100`, "10 over 5m0s"},
		{`max(` + ratio5m + ` > 0.05) without (window)`, "10 over 5m0s"},
		{`label_replace(` + ratio5m + ` > 0.05, "a", "b", "c", "d")`, "10 over 5m0s"},
		{`clamp_max(` + ratio5m + `, 1) > 0.05`, "10 over 5m0s"},
		{`avg_over_time((` + ratio5m + `)[1h:5m]) > 0.05`, "10 over 1h0m0s"},
		{ratio5m + ` > 0.05 and on() (hour() > 8)`, "10 over 5m0s + ?"},
		{ratio5m + ` > 0.05 unless on() maintenance`, "10 over 5m0s + ?"},
		{ratio5m + ` > 0.05 or ` + ratio5m + ` > 0.06`, "10 over 5m0s | 12 over 5m0s"},
		{`(` + ratio5m + ` > 0.05 and ` + good5m + ` < 0.93) or up == 0`, "10 over 5m0s + 14 over 5m0s | ?"},
		{ratio5m + ` > 0.05 and sum(increase(http_requests_total{code=~"5.."}[1h])) >= 5`, "10 over 5m0s + 5 events in 1h0m0s"},
		{`sum(rate(http_requests_total{code=~"5..",service="api"}[5m])) > 0.05`, "15 events in 5m0s"},
		{`sum(rate(http_requests_total{code=~"4..|5..",service="api"}[5m])) / sum(rate(http_requests_total{service="api"}[5m])) > 0.05`, "10 over 5m0s apart"},
		{`sum(rate(http_requests_total{code=~"2..",service="api"}[5m])) / sum(rate(http_requests_total{service="api"}[5m])) < 0.95`, "10 over 5m0s apart"},
		{`sum(rate(http_requests_total{code=~"5..",service="search"}[5m])) / sum(rate(http_requests_total{service="search"}[5m])) > 0.05`, "?"},
		{`sum(rate(other_total{code=~"5.."}[5m])) / sum(rate(other_total[5m])) > 0.05`, "?"},
		{ratio5m + ` < 0.05`, "?"},
		{ratio5m + ` == 0.05`, "?"},
		{ratio5m + ` > NaN`, "?"},
		{ratio5m + ` / 0 > 1`, "?"},
		{ratio5m + ` * 0 > 1`, "?"},
		{`error_budget:burn_rate:1h{service="api",slo="availability"} > 14.4 and error_budget:burn_rate:5m{slo="availability"} > 14.4`, "14.4 over 1h0m0s + 14.4 over 5m0s"},
		{`error_budget:burn_rate:1h{service="search",slo="availability"} > 14.4`, "?"},
		{`slo:sli_error:ratio_rate5m{sloth_id="api-availability",sloth_service="api",sloth_slo="availability"} > (14.4 * 0.005)`, "14.4 over 5m0s"},
		{`http_requests:burnrate5m{job="x",slo="availability"} > (14 * (1-0.995))`, "14 over 5m0s"},
		{`recorded:ratio5m > 0.05`, "10 over 5m0s"},
		{`recorded:burn5m > 10`, "10 over 5m0s"},
		{`max_over_time(recorded:ratio5m[1h]) > 0.05`, "10 over 1h0m0s"},
		{`recorded:ratio5m > on() group_left 10 * recorded:budget`, "10 over 5m0s"},
		{`recorded:ratio5m / on() group_left recorded:budget > 10`, "10 over 5m0s"},
		{`sum_over_time(recorded:ratio5m[1d]) / count_over_time(recorded:ratio5m[1d]) > 0.05`, "10 over 24h0m0s"},
		{`sum_over_time(recorded:errors5m[1h:5m]) / sum_over_time(recorded:total5m[1h:5m]) > 0.05`, "10 over 1h0m0s"},
		{`recorded:loop > 0.05`, "?"},
	} {
		set := readRules(fstest.MapFS{"r.yml": {Data: []byte(`groups: [{name: g, rules: [
			{record: 'recorded:ratio5m', expr: '` + ratio5m + `'},
			{record: 'recorded:burn5m', expr: 'recorded:ratio5m / 0.005'},
			{record: 'recorded:budget', expr: 'vector(1 - 0.995)'},
			{record: 'recorded:errors5m', expr: 'sum(increase(http_requests_total{code=~"5.."}[5m]))'},
			{record: 'recorded:total5m', expr: 'sum(increase(http_requests_total[5m]))'},
			{record: 'recorded:loop', expr: 'recorded:loop + 0'},
			]}]`)}}, []string{"r.yml"})
		expr, err := parseExpr(test.expr)
		if err != nil {
			t.Fatalf("%s: %v", test.expr, err)
		}
		p := promises(availability(t))[0]
		held := comparison{ruleset: set}
		if got := shape(p, held.termsOf(p).conditions(expr)); got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.expr, got, test.want)
		}
	}
}

// shape prints what an alert asks for: branches by |, their conditions by +.
func shape(p promise, conditions anyOf) string {
	var branches []string
	for _, list := range conditions {
		var parts []string
		for _, c := range list {
			r, ok := p.read(c)
			part := "?"
			if ok && r.burn != nil {
				part = fmt.Sprintf("%s over %s", decimal(r.burn), r.window)
			} else if ok {
				part = fmt.Sprintf("%s events in %s", decimal(r.events), r.window)
			}
			if r.apart != "" {
				part += " apart"
			}
			parts = append(parts, part)
		}
		branches = append(branches, strings.Join(parts, " + "))
	}
	text := strings.Join(branches, " | ")
	if slices.ContainsFunc(conditions, func(list []condition) bool { return len(list) == 0 }) {
		return "always"
	}
	return text
}
