package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// settingsFile may stand in the scanned directory; its keys are the long names of flags.
const settingsFile = "slowburn.yaml"

const maxSettings = 1 << 20

// applySettings gives the flags that the command line leaves unsaid the values of dir/slowburn.yaml. Keys
// of other commands' flags are fine; keys that no command has are errors, each with its line.
func applySettings(cmd *cobra.Command, dir string) error {
	path := filepath.Join(dir, settingsFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxSettings) {
		return fmt.Errorf("%s: not a regular file of at most %d KiB", path, maxSettings>>10)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(document.Content) == 0 {
		return nil
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: not a mapping: write flag names and values, such as \"policy: sre\"", path, top.Line)
	}
	var faults []error
	for i := 0; i+1 < len(top.Content); i += 2 {
		if err := applySetting(cmd, top.Content[i], top.Content[i+1]); err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %w", path, top.Content[i].Line, err))
		}
	}
	return errors.Join(faults...)
}

func applySetting(cmd *cobra.Command, key, value *yaml.Node) error {
	flag := cmd.Flags().Lookup(key.Value)
	if flag == nil {
		known := flagNames(cmd.Root())
		if slices.Contains(known, key.Value) {
			return nil
		}
		return fmt.Errorf("key %q is unknown: write one of %s", key.Value, strings.Join(known, ", "))
	}
	if flag.Changed {
		return nil
	}
	var values []string
	switch value.Kind {
	case yaml.ScalarNode:
		values = []string{value.Value}
	case yaml.SequenceNode:
		for _, v := range value.Content {
			values = append(values, v.Value)
		}
	default:
		return fmt.Errorf("%s: write a value or a list of values", key.Value)
	}
	for _, v := range values {
		if err := cmd.Flags().Set(flag.Name, v); err != nil {
			return fmt.Errorf("%s: %w", key.Value, err)
		}
	}
	return nil
}

func flagNames(root *cobra.Command) []string {
	seen := map[string]bool{}
	var names []string
	for _, c := range root.Commands() {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !seen[f.Name] && f.Name != "help" {
				seen[f.Name] = true
				names = append(names, f.Name)
			}
		})
	}
	slices.Sort(names)
	return names
}
