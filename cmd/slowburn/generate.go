package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slowburn/slowburn/rulegen"
)

// formats is what generate writes, by the name of --format.
var formats = []struct {
	name  string
	write func(io.Writer, *workspace, string) error
}{
	{"prometheus", func(out io.Writer, w *workspace, _ string) error { return rulegen.WriteRules(out, w.groups) }},
	{"operator", func(out io.Writer, w *workspace, _ string) error { return rulegen.WriteOperator(out, w.groups) }},
	{"openslo", func(out io.Writer, w *workspace, _ string) error {
		return rulegen.WriteOpenSLO(out, w.objectives, w.ruleOptions())
	}},
	{"grafana", func(out io.Writer, w *workspace, _ string) error { return rulegen.WriteGrafana(out, w.objectives) }},
	{"promtool-test", func(out io.Writer, w *workspace, ruleFile string) error {
		return rulegen.WriteTests(out, w.objectives, ruleFile, w.ruleOptions())
	}},
	{"inhibit", func(out io.Writer, w *workspace, _ string) error { return rulegen.WriteInhibit(out, w.objectives) }},
}

func newGenerate() *cobra.Command {
	var names []string
	for _, f := range formats {
		names = append(names, f.name)
	}
	cmd := &cobra.Command{
		Use:   "generate [DIR]",
		Short: "Write the rules that the contracts become",
		Long: `generate writes what the SLOs below DIR become: a Prometheus rule file, a PrometheusRule for the Prometheus
Operator, OpenSLO v1, a Grafana dashboard of the SLOs, a promtool test file for the rules, or Alertmanager's inhibit_rules.
The same sources give the same bytes.`,
		Example: `  slowburn generate --out slo.rules.yml && promtool check rules slo.rules.yml
  slowburn generate --format promtool-test --rules slo.rules.yml --out slo.test.yml && promtool test rules slo.test.yml
  slowburn generate --policy sre | kubectl diff -f - # with --format operator`,
		Args: cobra.MaximumNArgs(1),
	}
	settings := addReadFlags(cmd)
	format := cmd.Flags().String("format", names[0], "what to write: "+strings.Join(names, ", "))
	mustComplete(cmd, "format", names)
	outFile := cmd.Flags().String("out", "", "write to this file instead of standard output, all or nothing")
	ruleFile := cmd.Flags().String("rules", "slo.rules.yml", "the rule file that a promtool-test tests")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, _, err := begin(cmd, args, settings)
		if err != nil {
			return err
		}
		at := slices.Index(names, *format)
		if at < 0 {
			return fmt.Errorf("--format %q is unknown: write one of %s", *format, strings.Join(names, ", "))
		}
		w, err := readWorkspace(cmd.Context(), dir, *settings)
		if err != nil {
			return err
		}
		text(cmd.ErrOrStderr()).Findings(w.findings)
		if err := w.refused(); err != nil {
			return errUnsound
		}
		if len(w.objectives) == 0 {
			return fmt.Errorf("no SLO is declared below %s: see slowburn scan --help", dir)
		}
		var made bytes.Buffer
		if err := formats[at].write(&made, w, *ruleFile); err != nil {
			return err
		}
		if *outFile == "" {
			_, err = cmd.OutOrStdout().Write(made.Bytes())
			return err
		}
		return writeFile(*outFile, made.Bytes())
	}
	return cmd
}

var errUnsound = fmt.Errorf("the contract has errors, see above; mend them first")

// writeFile replaces path as a whole or leaves it as it was.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".slowburn-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone when all went well
	if _, err := f.Write(content); err != nil {
		f.Close() //nolint:errcheck // the write's error says more
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close() //nolint:errcheck // the first error says more
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
