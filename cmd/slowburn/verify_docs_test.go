package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// TestPipelines: the snippets of docs/ci are YAML, and what they call slowburn with are flags and forms that it has.
func TestPipelines(t *testing.T) {
	call := regexp.MustCompile(`slowburn verify [^|;&]*`)
	flag := regexp.MustCompile(`--([a-z-]+)`)
	form := regexp.MustCompile(`--output ([a-z]+)`)
	cmd := newVerify()
	files, err := filepath.Glob("../../docs/ci/*.yml")
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var tree map[string]any
			if err := yaml.Unmarshal(content, &tree); err != nil {
				t.Fatal(err)
			}
			calls := 0
			for _, text := range scripts(tree) {
				for _, one := range call.FindAllString(strings.ReplaceAll(text, "\\\n", " "), -1) {
					calls++
					one, _, _ = strings.Cut(one, "\n")
					for _, m := range flag.FindAllStringSubmatch(one, -1) {
						if cmd.Flags().Lookup(m[1]) == nil {
							t.Errorf("%s: verify has no flag --%s", one, m[1])
						}
					}
					for _, m := range form.FindAllStringSubmatch(one, -1) {
						if !strings.Contains(cmd.Flags().Lookup("output").Usage, m[1]) {
							t.Errorf("%s: verify has no form %s", one, m[1])
						}
					}
				}
			}
			if calls == 0 {
				t.Error("slowburn is never called")
			}
		})
	}
}

// scripts are all strings of a tree of YAML.
func scripts(tree any) []string {
	var all []string
	switch tree := tree.(type) {
	case string:
		return []string{tree}
	case []any:
		for _, item := range tree {
			all = append(all, scripts(item)...)
		}
	case map[string]any:
		for _, item := range tree {
			all = append(all, scripts(item)...)
		}
	}
	return all
}

// TestVerifyFlagsAreTold: docs/verify.md names every gate and every source of what is compared, and no flag that is not there.
func TestVerifyFlagsAreTold(t *testing.T) {
	content, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	cmd := newVerify()
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(string(content), -1) {
		told[m[1]] = true
		if cmd.Flags().Lookup(m[1]) == nil {
			t.Errorf("docs/verify.md names --%s, which verify has not", m[1])
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if own := []string{"base", "fail-on", "max-drift", "max-new-pages", "min-recall", "max-series", "prove-page", "live", "rules", "prometheus", "alertmanager", "datadog", "history", "incidents", "infer"}; slices.Contains(own, f.Name) && !told[f.Name] {
			t.Errorf("docs/verify.md does not name --%s", f.Name)
		}
	})
}
