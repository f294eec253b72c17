package evaluator

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// promtool finds the outside oracle: that of our own Prometheus version, which make tools builds into bin/, and never
// an installed one, which may take windows that are closed on the left.
func promtool(t *testing.T) string {
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

const oracleRules = `groups:
- name: api-availability
  interval: 1m
  rules:
  - record: error_budget:burn_rate:5m
    expr: (sum by (tenant) (rate(r{code=~"5.."}[5m])) or sum by (tenant) (rate(r[5m])) * 0) / (sum by (tenant) (rate(r[5m])) > 0) / 0.005
    labels: {service: api}
  - record: error_budget:burn_rate:30m
    expr: (sum by (tenant) (rate(r{code=~"5.."}[30m])) or sum by (tenant) (rate(r[30m])) * 0) / (sum by (tenant) (rate(r[30m])) > 0) / 0.005
    labels: {service: api}
  - record: error_budget:failures:30m
    expr: sum by (tenant) (increase(r{code=~"5.."}[30m]))
    labels: {service: api}
  - alert: ErrorBudgetBurn
    expr: error_budget:burn_rate:30m{service="api"} > 6 and error_budget:burn_rate:5m{service="api"} > 6 and error_budget:failures:30m{service="api"} >= 5
    for: 2m
    keep_firing_for: 3m
    labels: {severity: page}
  - alert: Silent
    expr: absent(r{tenant="a"})
- name: later
  interval: 2m
  rules:
  - record: spent
    expr: avg_over_time(error_budget:burn_rate:5m[10m]) * 600
`

var oracleSeries = [][2]string{
	{`r{tenant="a",code="200"}`, "0+60x20 1200+60x10 _x12 60+60x30"},
	{`r{tenant="a",code="500"}`, "0x12 3+9x14 _x15 0x30"},
	{`r{tenant="b",code="200"}`, "0+600x40 5+600x30"},
	{`r{tenant="b",code="503"}`, "0+1x10 11+100x6 611+0x10 stale _x5 0+4x20"},
}

// What Replay says of a world, promtool test rules says too: at every minute the recordings, and the alerts.
func TestReplayAgreesWithPromtool(t *testing.T) {
	tool := promtool(t)
	var load, test strings.Builder
	load.WriteString("load 1m\n")
	test.WriteString("rule_files: [rules.yml]\nevaluation_interval: 1m\ngroup_eval_order: [api-availability, later]\nfuzzy_compare: false\ntests:\n- interval: 1m\n  input_series:\n")
	for _, s := range oracleSeries {
		fmt.Fprintf(&load, "  %s %s\n", s[0], s[1])
		fmt.Fprintf(&test, "  - {series: '%s', values: '%s'}\n", s[0], s[1])
	}
	history := promqltest.LoadedStorage(t, load.String())
	defer history.Close()
	groups := ruleGroups(t, oracleRules)
	done, err := Replay(context.Background(), groups, history, minutes(72))
	if err != nil {
		t.Fatal(err)
	}
	fired := writeExpectations(&test, done.Outcomes, 72)
	if fired < 3 {
		t.Fatalf("only %d alerts fire: the test proves little", fired)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"rules.yml": oracleRules, "test.yml": test.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(tool, "test", "rules", filepath.Join(dir, "test.yml")).CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, bytes.TrimSpace(out))
	}
}

// writeExpectations writes what promtool is to find, and counts the episodes that fire.
func writeExpectations(test *strings.Builder, outcomes []*Outcome, minutes int) int {
	test.WriteString("  promql_expr_test:\n")
	for _, o := range outcomes {
		for _, r := range o.Rules {
			for tick := range o.Ticks.N {
				if r.Record != "" {
					writeSamples(test, o, r, tick)
				}
			}
		}
	}
	test.WriteString("  alert_rule_test:\n")
	fired := 0
	for _, o := range outcomes {
		for _, r := range o.Rules {
			if r.Alert == "" {
				continue
			}
			for _, e := range r.Episodes {
				if !e.FiredAt.IsZero() {
					fired++
				}
			}
			for m := range minutes {
				writeAlerts(test, r, time.Unix(int64(m)*60, 0))
			}
		}
	}
	return fired
}

func writeSamples(test *strings.Builder, o *Outcome, r RuleOutcome, tick int) {
	fmt.Fprintf(test, "  - expr: '%s'\n    eval_time: %ds\n    exp_samples: [", r.Record, o.Ticks.At(tick).Unix())
	for _, c := range r.Columns {
		if v := c.Values[tick]; !Absent(v) {
			fmt.Fprintf(test, "{labels: '%s', value: %v}, ", c.Labels, v)
		}
	}
	test.WriteString("]\n")
}

func writeAlerts(test *strings.Builder, r RuleOutcome, at time.Time) {
	fmt.Fprintf(test, "  - alertname: %s\n    eval_time: %ds\n    exp_alerts: [", r.Alert, at.Unix())
	for _, e := range r.Episodes {
		if e.FiredAt.IsZero() || e.FiredAt.After(at) || !e.ResolvedAt.IsZero() && !e.ResolvedAt.After(at) {
			continue
		}
		test.WriteString("{exp_labels: {")
		e.Labels.Range(func(l labels.Label) {
			if l.Name != labels.AlertName {
				fmt.Fprintf(test, "%s: %q, ", l.Name, l.Value)
			}
		})
		test.WriteString("}}, ")
	}
	test.WriteString("]\n")
}
