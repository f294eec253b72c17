package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/slowburn/slowburn/report"
)

// text writes for people: with colours where w is a terminal and NO_COLOR is not set.
func text(w io.Writer) report.Text {
	f, ok := w.(*os.File)
	return report.Text{W: w, Color: ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""}
}

// addOutput adds -o with the forms a command has; the first is the default.
func addOutput(cmd *cobra.Command, forms ...string) {
	cmd.Flags().StringP("output", "o", forms[0], "form of the result on standard output: "+strings.Join(forms, ", "))
	mustComplete(cmd, "output", forms)
	cmd.Flags().SetAnnotation("output", "forms", forms) //nolint:errcheck // the flag exists: it was added above
}

// outputForm reads -o, if the command has it, and refuses what the command does not have.
func outputForm(cmd *cobra.Command) (string, error) {
	flag := cmd.Flags().Lookup("output")
	if flag == nil {
		return "", nil
	}
	form, forms := flag.Value.String(), flag.Annotations["forms"]
	if !slices.Contains(forms, form) {
		return "", fmt.Errorf("--output %q is unknown: write one of %s", form, strings.Join(forms, ", "))
	}
	return form, nil
}

func mustComplete(cmd *cobra.Command, flag string, values []string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is not there: a fault of the caller
	}
}

// writeAs writes v as json or yaml.
func writeAs(w io.Writer, form string, v any) error {
	switch form {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	case "yaml":
		return writeYAML(w, v)
	}
	panic("output form " + form)
}

// writeYAML goes through JSON, so that both forms have the same names.
func writeYAML(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var node yaml.Node // YAML reads JSON; a node keeps the order of the fields
	if err := yaml.Unmarshal(text, &node); err != nil {
		return err
	}
	block(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

// block drops the braces and quotes that came from JSON.
func block(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		block(child)
	}
}

// logger writes to standard error by --log-level.
func logger(cmd *cobra.Command) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(mustString(cmd, "log-level"))); err != nil {
		return nil, fmt.Errorf("--log-level %q is unknown: write debug, info, warn or error", mustString(cmd, "log-level"))
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}

// mustString reads a flag that the command has.
func mustString(cmd *cobra.Command, name string) string {
	s, err := cmd.Flags().GetString(name)
	if err != nil {
		panic(err) // the flag is not there: a fault of the caller
	}
	return s
}

// demoted makes what upstream's engines call info our debug: how a log is replayed is no news to a person.
func demoted(l *slog.Logger) *slog.Logger { return slog.New(demoting{l.Handler()}) }

type demoting struct{ slog.Handler }

func (d demoting) Enabled(ctx context.Context, level slog.Level) bool {
	return d.Handler.Enabled(ctx, demote(level))
}

func (d demoting) Handle(ctx context.Context, r slog.Record) error {
	r.Level = demote(r.Level)
	return d.Handler.Handle(ctx, r)
}

func (d demoting) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoting{d.Handler.WithAttrs(attrs)}
}

func (d demoting) WithGroup(name string) slog.Handler { return demoting{d.Handler.WithGroup(name)} }

func demote(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}
