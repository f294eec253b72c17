package drift

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slowburn/slowburn/slo"
)

var updateForeign = flag.Bool("update", false, "rewrite the expected facts in testdata")

// shopContract is what the sources say in the tests of other tools' formats.
func shopContract(policy string) Contract {
	p, _ := slo.PolicyNamed(policy)
	objective := func(service string, target slo.Target, line int) slo.Objective {
		return slo.Objective{
			Service: service, Name: "availability", Target: target, Window: slo.DefaultWindow, Policy: p,
			Indicator: slo.Availability{Errors: `http_requests_total{code=~"5.."}`, Total: "http_requests_total"},
			Declared:  []slo.Position{{File: service + ".ts", Line: line}},
		}
	}
	return Contract{
		Objectives: []slo.Objective{objective("checkout", 0.995, 12), objective("search", 0.999, 7), objective("billing", 0.99, 3)},
		Services:   []Service{{Name: "checkout"}, {Name: "search"}, {Name: "billing"}, {Name: "mailer"}},
	}
}

// factLines writes a report for reading: a line for each fact, then each finding.
func factLines(r Report) string {
	var b strings.Builder
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "%s | %s/%s %s | %s | want %s | got %s | code %s | there %s | %s\n",
			f.Verdict, f.Service, f.SLO, f.Tier, f.Subject, f.Want, f.Got, f.Code, f.There, f.Rule)
	}
	b.WriteString("\n")
	for _, f := range r.AllFindings() {
		fmt.Fprintf(&b, "%s: %s\n", f.Severity, f)
	}
	drifting, compared := r.Share()
	fmt.Fprintf(&b, "\n%d of %d drift\n", drifting, compared)
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *updateForeign {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs (go test ./drift -update, then read the diff):\n%s", path, got)
	}
}

func TestDatadogExport(t *testing.T) {
	golden(t, "datadog.facts.txt", factLines(Datadog(shopContract("sre"), ReadDatadog("testdata/datadog"))))
}

func TestDatadogQueries(t *testing.T) {
	const id = "6a3ffb99fc285f4f947ccf83d888558b"
	for query, want := range map[string]datadogQuery{
		`burn_rate("` + id + `").over("30d").long_window("1h").short_window("5m") > 14.4`: {
			kind: burnRateQuery, slo: id, over: 30 * 24 * time.Hour, long: time.Hour, short: 5 * time.Minute, operator: ">", threshold: 14.4},
		`burn_rate("` + id + `").over("7d").short_window("5m").long_window("60m") >= 1.5e1`: {
			kind: burnRateQuery, slo: id, over: 7 * 24 * time.Hour, long: time.Hour, short: 5 * time.Minute, operator: ">=", threshold: 15},
		`burn_rate('` + id + `').over('90d').long_window('48h')>2`: {
			kind: burnRateQuery, slo: id, over: 90 * 24 * time.Hour, long: 48 * time.Hour, operator: ">", threshold: 2},
		`error_budget("` + id + `").over("30d") > 75`: {kind: budgetQuery, slo: id, over: 30 * 24 * time.Hour, operator: ">", threshold: 75},
		"sum(last_5m):sum:e{a:b/c}.as_count() / sum:t{*}.as_count() > 0.05": {
			kind: metricQuery, last: 5 * time.Minute, ratio: true, operator: ">", threshold: 0.05},
		"avg(last_1h):100 * sum:e{*} / sum:t{*} >= 5":                      {kind: metricQuery, last: time.Hour, ratio: true, percent: true, operator: ">=", threshold: 5},
		"avg(last_1h):avg:disk{path:/var/lib} > 90":                        {kind: metricQuery, last: time.Hour, operator: ">", threshold: 90},
		"avg(last_1h):avg:requests_100{*} < -3":                            {kind: metricQuery, last: time.Hour, operator: "<", threshold: -3},
		`logs("status:error").index("*").rollup("count").last("5m") > 100`: {operator: ">", threshold: 100},
	} {
		got, ok := parseDatadogQuery(query)
		if !ok || got != want {
			t.Errorf("%s:\n%+v, %v, want\n%+v", query, got, ok, want)
		}
	}
	for _, query := range []string{
		"", "> ", "a", `burn_rate("x") > 1`, `burn_rate("x").over("30d") > 1`, `burn_rate("x").over("1mo").long_window("1h") > 1`,
		`burn_rate("x").over("30d").long_window("1h").until("5m") > 1`, "sum(last_5m):a > many", "a > 1e999", strings.Repeat("a", maxDatadogQuery) + " > 1",
	} {
		if got, ok := parseDatadogQuery(query); ok {
			t.Errorf("%.60q is read as %+v", query, got)
		}
	}
}

// TestDatadogCantHold28Days: what Datadog has no place for is no drift.
func TestDatadogCantHold28Days(t *testing.T) {
	c := shopContract("sre")
	c.Objectives = c.Objectives[:1]
	c.Objectives[0].Window = 28 * 24 * time.Hour
	export := `{"data":{"id":"x","name":"n","type":"metric","tags":["service:checkout","slo:availability"],"thresholds":[{"timeframe":"30d","target":99.5}]}}`
	r := Datadog(c, []File{{Name: "slo.json", Content: []byte(export)}})
	if drifting, compared := r.Share(); drifting != 0 || compared != 1 {
		t.Errorf("%d of %d drift, want 0 of 1:\n%s", drifting, compared, factLines(r))
	}
}

// TestDatadogTargets: a percentage that lost its last digit on the way through a float is the same.
func TestDatadogTargets(t *testing.T) {
	for target, want := range map[string]Verdict{
		"99.5": Same, "99.50000000000001": Same, `"99.5"`: Same, "99.51": Differs, "0.995": Differs, `"NaN"`: Unchecked, `"most"`: Unchecked, "null": Unchecked, "[99.5]": Unchecked,
	} {
		export := `[{"id":"x","name":"n","type":"metric","tags":["service:checkout","slo:availability"],"thresholds":[{"timeframe":"30d","target":` + target + `}]}]`
		r := Datadog(shopContract("default"), []File{{Name: "slo.json", Content: []byte(export)}})
		if got := r.Facts[0]; got.Subject != "target" || got.Verdict != want {
			t.Errorf("%s: %s, want %s: %+v", target, got.Verdict, want, got)
		}
	}
}

// TestDatadogThatCantBeRead: each fault is one finding at its place, and nothing counts as compared.
func TestDatadogThatCantBeRead(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.json")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 100<<20); err != nil {
		t.Fatal(err)
	}
	inline := func(content string) []File { return []File{{Name: "x.json", Content: []byte(content)}} }
	for name, tc := range map[string]struct {
		files []File
		want  string
	}{
		"absent":            {ReadDatadog(filepath.Join(dir, "absent")), "no such file"},
		"100 MB":            {ReadDatadog(big), "larger than 16 MiB"},
		"no JSON there":     {ReadDatadog(t.TempDir()), "holds no JSON file"},
		"empty":             {inline(""), "ends before"},
		"truncated":         {inline(`{"data":[{"id":`), "ends before"},
		"more than one":     {inline("[]\n[]"), "more follows"},
		"NaN":               {inline(`{"data":[NaN]}`), "x.json:1:10: Datadog export is not checked: invalid character"},
		"HTML":              {inline("<html>"), "x.json:1:1"},
		"an error answered": {inline(`{"errors":["Forbidden"]}`), "Forbidden"},
		"something else":    {inline(`{"hello":[1,2]}`), "holds no SLO"},
		"deep":              {inline(strings.Repeat("[", 100_000)), "nests deeper"},
		"deep objects":      {inline(strings.Repeat(`{"a":`, 100_000)), "nests deeper"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Datadog(shopContract("default"), tc.files)
			var told []string
			for _, f := range r.AllFindings() {
				told = append(told, f.String())
			}
			if !strings.Contains(strings.Join(told, "\n"), tc.want) {
				t.Errorf("told %q, want %q", told, tc.want)
			}
			if _, compared := r.Share(); compared != 0 {
				t.Errorf("%d facts count as compared:\n%s", compared, factLines(r))
			}
		})
	}
}

// TestJSONPlaces: a value's place is where it begins, also far along one line.
func TestJSONPlaces(t *testing.T) {
	n, _, err := parseJSON("x.json", []byte("\xef\xbb\xbf{\"ä\": [1,\n\t{\"b\" : true}], \"c\":\"d\"}"))
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string]*node{"x.json:1:1": n, "x.json:1:7": n.get("ä"), "x.json:1:8": n.get("ä").items()[0], "x.json:2:9": n.get("ä").items()[1].get("b"), "x.json:2:21": n.get("c")} {
		if got.pos.String() != want {
			t.Errorf("at %s, want %s", got.pos, want)
		}
	}
}

// FuzzDatadog: whatever an export holds, nothing panics, and what is unchecked has its reason.
func FuzzDatadog(f *testing.F) {
	for _, file := range ReadDatadog("testdata/datadog") {
		f.Add(file.Content)
	}
	f.Add([]byte(`{"widgets":[{"definition":{"widgets":[{}]}}],"thresholds":[{}]}`))
	contract := shopContract("sre")
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, fact := range Datadog(contract, []File{{Name: "x.json", Content: content}}).Facts {
			if fact.Verdict == Unchecked && fact.Got == "" {
				t.Errorf("unchecked without a reason: %+v", fact)
			}
		}
	})
}

// FuzzDatadogQuery: a query is refused, or its threshold is a number and its windows are above zero.
func FuzzDatadogQuery(f *testing.F) {
	f.Add(`burn_rate("x").over("30d").long_window("1h").short_window("5m") > 14.4`)
	f.Add("sum(last_5m):100 * sum:e{*} / sum:t{*} > 5")
	f.Fuzz(func(t *testing.T, query string) {
		q, ok := parseDatadogQuery(query)
		if ok && (q.kind == burnRateQuery && (q.over <= 0 || q.long <= 0) || q.threshold != q.threshold) {
			t.Errorf("%q is read as %+v", query, q)
		}
	})
}
