package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slowburn/slowburn/backtest"
)

const backtestSchema = "../../docs/schema/backtest.schema.json"

// TestSchemaIsTheType holds the schema to the type, field by field: a field that is added, renamed or made optional
// fails here until the schema says so.
func TestSchemaIsTheType(t *testing.T) {
	content, err := os.ReadFile(backtestSchema)
	if err != nil {
		t.Fatal(err)
	}
	var root schemaNode
	if err := json.Unmarshal(content, &root); err != nil {
		t.Fatal(err)
	}
	w := schemaWalk{t: t, defs: root.Defs}
	w.same("result", reflect.TypeFor[backtest.Result](), root)
}

type schemaNode struct {
	Ref        string                `json:"$ref"`
	Defs       map[string]schemaNode `json:"$defs"`
	Properties map[string]schemaNode `json:"properties"`
	Required   []string              `json:"required"`
	Items      *schemaNode           `json:"items"`
	Additional any                   `json:"additionalProperties"`
}

type schemaWalk struct {
	t    *testing.T
	defs map[string]schemaNode
}

func (w schemaWalk) same(path string, of reflect.Type, node schemaNode) {
	if name, ok := strings.CutPrefix(node.Ref, "#/$defs/"); ok {
		node = w.defs[name]
	}
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	switch {
	case of.Kind() == reflect.Slice && node.Items != nil:
		w.same(path+"[]", of.Elem(), *node.Items)
	case of.Kind() == reflect.Slice:
		w.t.Errorf("%s: the schema does not say what the list holds", path)
	case of.Kind() == reflect.Struct && of != reflect.TypeFor[time.Time]():
		w.fields(path, of, node)
	}
}

func (w schemaWalk) fields(path string, of reflect.Type, node schemaNode) {
	if unknown, said := node.Additional.(bool); unknown || !said {
		w.t.Errorf("%s: the schema lets unknown fields pass", path)
	}
	known := map[string]bool{}
	for _, f := range reflect.VisibleFields(of) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || name == "-" {
			continue
		}
		known[name] = true
		property, ok := node.Properties[name]
		if !ok {
			w.t.Errorf("%s.%s is not in the schema", path, name)
			continue
		}
		optional := strings.Contains(options, "omit")
		if optional == slices.Contains(node.Required, name) {
			w.t.Errorf("%s.%s: optional is %t, the schema says otherwise", path, name, optional)
		}
		w.same(path+"."+name, f.Type, property)
	}
	for name := range node.Properties {
		if !known[name] {
			w.t.Errorf("%s.%s is in the schema alone", path, name)
		}
	}
}

// TestOutputFitsSchema runs a back-test with all that -o json can show, and a validator over what it wrote.
func TestOutputFitsSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(backtestSchema)
	if err != nil {
		t.Fatal(err)
	}
	month := shopMonth(t)
	rules := filepath.Join(t.TempDir(), "old.rules.yml")
	if status := execute(t.Context(), []string{"generate", "../../fixtures/shop", "--out", rules}, &bytes.Buffer{}, &bytes.Buffer{}); status != exitOK {
		t.Fatalf("generate: status %d", status)
	}
	var out, notes bytes.Buffer
	status := execute(t.Context(), []string{"backtest", "../../fixtures/shop", "--history", filepath.Join(month, "data"),
		"--incidents", filepath.Join(month, "incidents.csv"), "--infer", "0.1%", "--search", "--inject", "--against", rules, "-o", "json"}, &out, &notes)
	if status == exitFailed {
		t.Fatalf("backtest: %s", &notes)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(instance); err != nil {
		t.Error(err)
	}
	result := instance.(map[string]any)
	for _, part := range []string{"injected", "comparison", "slos"} {
		if result[part] == nil {
			t.Errorf("the run shows no %s: it proves too little", part)
		}
	}
	// The validator bites.
	result["surprise"] = true
	if schema.Validate(instance) == nil {
		t.Error("an unknown field passes")
	}
}
