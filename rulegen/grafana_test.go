package rulegen

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	grafanaquery "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/slo"
)

func grafanaOf(t *testing.T, objectives []slo.Objective) []byte {
	t.Helper()
	var first, again bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &again} {
		if err := WriteGrafana(b, objectives); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), again.Bytes()) {
		t.Error("the same objectives gave other bytes")
	}
	return first.Bytes()
}

// TestGrafanaTakesTheDashboard reads it by Grafana's own types, strictly: unknown and missing fields are refused.
func TestGrafanaTakesTheDashboard(t *testing.T) {
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(statetimeline.VariantConfig())
	runtime.RegisterPanelcfgVariant(table.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterDataqueryVariant(grafanaquery.VariantConfig())
	for name, objectives := range worlds() {
		text := grafanaOf(t, objectives)
		var d grafana.Dashboard
		if err := d.UnmarshalJSONStrict(text); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if current := grafana.NewDashboard().SchemaVersion; d.SchemaVersion != current {
			t.Errorf("schemaVersion %d, Grafana's is %d", d.SchemaVersion, current)
		}
	}
	compare(t, "sre.grafana.json", grafanaOf(t, worlds()["sre"]))
}

// TestGrafanaPanels: ids are unique, and no two panels share a place.
func TestGrafanaPanels(t *testing.T) {
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
		}
	}
	if err := json.Unmarshal(grafanaOf(t, worlds()["sre"]), &d); err != nil {
		t.Fatal(err)
	}
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("id %d twice", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("%q stands at %d, %d, where %q is", p.Title, x, y, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// TestGrafanaReadsWhatIsThere: every expression parses, and every metric in it is recorded by the generated
// rules or listed in docs/metrics.md, with the labels that are asked for.
func TestGrafanaReadsWhatIsThere(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(slowburn_\\w+)` \\| \\w+ \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		exported[m[1]] = strings.Split(strings.TrimSpace(m[2]), ", ")
	}
	for name, objectives := range worlds() {
		groups, err := Compile(objectives, Options{})
		if err != nil {
			t.Fatal(err)
		}
		known := maps.Clone(exported)
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				known[r.Record] = []string{"service", "slo", objectives[0].Tenant.Label}
			}
		}
		text := string(grafanaOf(t, objectives))
		exprs := quotedFields(t, text, "expr")
		for _, q := range quotedFields(t, text, "definition") {
			m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(q)
			if m == nil {
				t.Fatalf("%s: variable query %q", name, q)
			}
			exprs = append(exprs, m[1])
		}
		if len(exprs) < 10 {
			t.Fatalf("%s: %d expressions", name, len(exprs))
		}
		for _, e := range exprs {
			readsKnown(t, e, known)
		}
	}
}

func readsKnown(t *testing.T, expression string, known map[string][]string) {
	t.Helper()
	expr, err := promqlParser().ParseExpr(expression)
	if err != nil {
		t.Errorf("%s: %v", expression, err)
		return
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		var metrics []string
		for _, m := range v.LabelMatchers {
			if m.Name == labels.MetricName {
				metrics = strings.Split(m.Value, "|")
			}
		}
		for _, metric := range metrics {
			lbls, ok := known[metric]
			if !ok {
				t.Errorf("%s reads %s, which nothing exports or records", expression, metric)
			}
			for _, m := range v.LabelMatchers {
				if m.Name != labels.MetricName && !slices.Contains(lbls, m.Name) {
					t.Errorf("%s asks for label %s, which %s has not (%v)", expression, m.Name, metric, lbls)
				}
			}
		}
		return nil
	})
}

func quotedFields(t *testing.T, text, key string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(`"`+key+`": ("(?:[^"\\]|\\.)*")`).FindAllStringSubmatch(text, -1) {
		var s string
		if err := json.Unmarshal([]byte(m[1]), &s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// TestGrafanaDrawsTheThresholds: each window that a tier reads has the tier's factor as a line.
func TestGrafanaDrawsTheThresholds(t *testing.T) {
	text := string(grafanaOf(t, worlds()["sre"]))
	for _, tier := range worlds()["sre"][0].Policy.Tiers {
		for _, w := range []string{slo.FormatWindow(tier.Long), slo.FormatWindow(tier.Short)} {
			at := strings.Index(text, `"title": "Burn rate over `+w+`"`)
			if at < 0 {
				t.Fatalf("no panel for %s", w)
			}
			panel := text[strings.LastIndex(text[:at], `"fieldConfig"`):at]
			if !strings.Contains(panel, `"value": `+slo.FormatNumber(tier.Factor)) {
				t.Errorf("the panel of %s has no line at %g", w, tier.Factor)
			}
		}
	}
}
