package drift

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slowburn/slowburn/slo"
)

func TestSpecsInATree(t *testing.T) {
	golden(t, "specs.facts.txt", factLines(Specs(shopContract("default"), FindSpecs("testdata/specs"))))
}

// TestFindSpecs holds what is read: specs by what they say, inside the directory, of bounded size.
func TestFindSpecs(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(folder, name, content string) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const spec = "apiVersion: openslo/v1\nkind: SLO\n"
	write(outside, "slo.yaml", spec)
	write(dir, "a/slo.YML", spec)
	write(dir, "b/deployment.yaml", "apiVersion: apps/v1\n")
	write(dir, "c/huge.yaml", "apiVersion: pyrra.dev/v1alpha1\n"+strings.Repeat("# \n", maxSpec))
	write(dir, "c/huge-values.yaml", strings.Repeat("a: 1\n", maxSpec))
	write(dir, "node_modules/x/slo.yaml", spec)
	write(dir, ".git/slo.yaml", spec)
	for name, target := range map[string]string{"link.yaml": filepath.Join(outside, "slo.yaml"), "folder": outside} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, f := range FindSpecs(dir) {
		line := f.Name
		if f.Err != nil {
			line += ": " + f.Err.Error()
		}
		got = append(got, line)
	}
	if want := "a/slo.YML\nc/huge.yaml: is larger than 1 MiB"; strings.Join(got, "\n") != want {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	if absent := FindSpecs(filepath.Join(dir, "absent")); len(absent) != 1 || absent[0].Err == nil {
		t.Errorf("of an absent directory: %v", absent)
	}
}

func TestQueriesByMeaning(t *testing.T) {
	availability := shopContract("default").Objectives[0]
	latency := availability
	latency.Indicator = slo.Latency{Metric: `http_request_duration_seconds{route!="/health"}`, Threshold: time.Second}
	for name, tc := range map[string]struct {
		o     slo.Objective
		role  role
		query string
		want  Verdict
	}{
		"other order, owner by job":  {availability, countsErrors, `sum by (x) (increase(http_requests_total{job="checkout",code=~"5.."}[{{.window}}]))`, Same},
		"spelled anew":               {availability, countsErrors, `http_requests_total{code=~"5[0-9]{2}"}`, Same},
		"another class":              {availability, countsErrors, `http_requests_total{code=~"4.."}`, Differs},
		"another metric":             {availability, countsTotal, `requests_total`, Differs},
		"somebody else's":            {availability, countsTotal, `http_requests_total{service="search"}`, Differs},
		"more than is asked":         {availability, countsTotal, `sum(http_requests_total) + sum(retries_total)`, Differs},
		"good events":                {availability, countsGood, `http_requests_total{code!~"5.."}`, Unchecked},
		"no PromQL":                  {availability, countsTotal, `SELECT 1`, Unchecked},
		"no series":                  {availability, countsTotal, `1`, Unchecked},
		"a bucket":                   {latency, countsGood, `http_request_duration_seconds_bucket{le=~"1(\\.0)?",route!="/health"}`, Same},
		"a bucket, spelled 1.0":      {latency, countsGood, `http_request_duration_seconds_bucket{le="1.0",route!="/health"}`, Same},
		"another bucket":             {latency, countsGood, `http_request_duration_seconds_bucket{le="0.5",route!="/health"}`, Differs},
		"all by the last bucket":     {latency, countsTotal, `http_request_duration_seconds_bucket{le="+Inf",route!="/health"}`, Same},
		"slow ones as a difference":  {latency, countsErrors, `sum(rate(http_request_duration_seconds_count{route!="/health"}[{{.window}}])) - sum(rate(http_request_duration_seconds_bucket{le="1",route!="/health"}[{{.window}}]))`, Same},
		"nested too deep to be read": {availability, countsTotal, strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), Unchecked},
	} {
		t.Run(name, func(t *testing.T) {
			var s sheet
			s.compareQuery(&tc.o, tc.role, &node{kind: textNode, text: tc.query})
			if got := s.Facts[0]; got.Verdict != tc.want {
				t.Errorf("%s, want %s: want %s, got %s", got.Verdict, tc.want, got.Want, got.Got)
			}
		})
	}
}

// TestPyrraTiers holds the table to what Pyrra makes of windows, as FACTS of the field have it.
func TestPyrraTiers(t *testing.T) {
	for window, want := range map[time.Duration]string{
		28 * 24 * time.Hour: "14x over 1h/5m, 7x over 6h/30m, 2x over 1d/2h, 1x over 4d/6h",
		30 * 24 * time.Hour: "14x over 64m/5m, 7x over 386m/32m, 2x over 1543m/129m, 1x over 6171m/386m",
	} {
		if got := tableText(pyrraTiers(window)); got != want {
			t.Errorf("%s: %s, want %s", window, got, want)
		}
	}
}

// TestSpecsThatCantBeRead: whatever is wrong with a file, nothing of it counts as same.
func TestSpecsThatCantBeRead(t *testing.T) {
	sound := `{apiVersion: openslo/v1, kind: SLO, metadata: {name: checkout-availability}, spec: {service: checkout, objectives: [{target: %s}]}}`
	for name, content := range map[string]string{
		"empty":              "",
		"truncated":          "apiVersion: openslo/v1\nkind: SLO\nmetadata: {na",
		"no mapping":         "[1, 2]",
		"target is text":     strings.ReplaceAll(sound, "%s", "most"),
		"target is NaN":      strings.ReplaceAll(sound, "%s", ".nan"),
		"target is a list":   strings.ReplaceAll(sound, "%s", "[0.995]"),
		"no target":          strings.ReplaceAll(sound, "target: %s", ""),
		"a key twice":        "apiVersion: openslo/v1\napiVersion: openslo/v1\n",
		"an alias to itself": "apiVersion: openslo/v1\nkind: SLO\nspec: &a {b: *a}\n",
		"aliases that grow":  "apiVersion: openslo/v1\na: &a [1,1,1,1,1,1,1,1,1,1]\n" + bomb(),
		"deep":               "apiVersion: openslo/v1\na: " + strings.Repeat("[", 500) + strings.Repeat("]", 500),
		"not UTF-8":          "apiVersion: openslo/v1\nkind: \xff\xfe\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := Specs(shopContract("default"), []File{{Name: "slo.yaml", Content: []byte(content)}})
			for _, f := range r.Facts {
				if f.Verdict == Same || f.Verdict == Differs {
					t.Errorf("%s of %s: want %q, got %q", f.Verdict, f.Subject, f.Want, f.Got)
				}
			}
			if broken := name != "empty" && name != "no mapping"; broken && len(r.AllFindings()) == 0 {
				t.Error("no finding")
			}
		})
	}
}

// bomb is nine levels of aliases to the level before.
func bomb() string {
	var b strings.Builder
	for level := 'b'; level < 'k'; level++ {
		below := "*" + string(level-1)
		b.WriteString(string(level) + ": &" + string(level) + " [" + strings.Repeat(below+",", 9) + below + "]\n")
	}
	return b.String()
}

// FuzzSpecs: whatever stands in a file, nothing panics, and every fact has its reason.
func FuzzSpecs(f *testing.F) {
	for _, file := range FindSpecs("testdata/specs") {
		f.Add(file.Content)
	}
	f.Add([]byte("version: prometheus/v1\nservice: search\nslos: [{name: availability, objective: '99.9', sli: {raw: 1}}]"))
	contract := shopContract("sre")
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, fact := range Specs(contract, []File{{Name: "x.yaml", Content: content}}).Facts {
			if fact.Verdict == Unchecked && fact.Got == "" {
				t.Errorf("unchecked without a reason: %+v", fact)
			}
		}
	})
}

// TestGeneratedOpenSLOIsTheSame reads what rulegen writes of latency objectives, whose good events stand in a bucket.
func TestGeneratedOpenSLOIsTheSame(t *testing.T) {
	for name, want := range map[string]struct {
		metric   string
		native   bool
		compared int // target, window, method, two tiers of three facts each, and the two queries if they are counters
	}{
		"buckets":      {"http_request_duration_seconds", false, 11},
		"milliseconds": {`shop_http_request_duration_ms{route!="/health"}`, false, 11},
		"native":       {"http_request_duration_seconds", true, 9},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("../rulegen/testdata/" + name + ".openslo.yml")
			if err != nil {
				t.Fatal(err)
			}
			o := slo.Objective{
				Service: "api", Name: "latency", Target: 0.999, Window: slo.DefaultWindow, Policy: slo.DefaultPolicy(),
				Indicator: slo.Latency{Metric: want.metric, Threshold: 300 * time.Millisecond, Native: want.native},
			}
			r := Specs(Contract{Objectives: []slo.Objective{o}}, []File{{Name: "slo.yaml", Content: text}})
			if drifting, compared := r.Share(); drifting != 0 || compared != want.compared {
				t.Errorf("%d of %d facts drift, want 0 of %d:\n%s", drifting, compared, want.compared, factLines(r))
			}
		})
	}
}
