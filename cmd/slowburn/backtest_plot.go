package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/tsdb"
)

// plotSettings is what the flags say of the picture.
type plotSettings struct {
	file, slo, tenant string
}

func (p *plotSettings) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.file, "plot", "", "draw burn rates, thresholds, firings, incidents and the budget of one SLO and tenant into this file, .svg or .png")
	f.StringVar(&p.slo, "plot-slo", "", "the SLO to draw, as service/name (default: the one with most incidents, then firings)")
	f.StringVar(&p.tenant, "plot-tenant", "", "the tenant to draw (default: likewise)")
}

// settle says before a long replay what would keep the picture from being written after it.
func (p *plotSettings) settle() error {
	if p.file == "" {
		if p.slo != "" || p.tenant != "" {
			return fmt.Errorf("--plot-slo and --plot-tenant say what --plot draws: add --plot FILE.svg")
		}
		return nil
	}
	if !slices.Contains(report.PlotForms(), p.form()) {
		return fmt.Errorf("--plot %s: the name must end in .%s", p.file, strings.Join(report.PlotForms(), " or ."))
	}
	return placeFor("--plot", filepath.Dir(p.file))
}

func (p *plotSettings) form() string {
	return strings.ToLower(strings.TrimPrefix(filepath.Ext(p.file), "."))
}

// placeFor reports whether a directory is there to write into.
func placeFor(flag, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w", flag, &fs.PathError{Op: "write into", Path: dir, Err: fs.ErrInvalid})
	}
	return nil
}

// draw writes the picture and says what is on it where that was not asked for by name.
func (p *plotSettings) draw(ctx context.Context, notes report.Text, h *tsdb.History, r *backtest.Result, o backtest.Options) error {
	if p.file == "" {
		return nil
	}
	one, tenant, err := r.Pick(p.slo, p.tenant)
	if err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	trace, err := r.Trace(ctx, h, one, tenant, o)
	if err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	var picture bytes.Buffer
	if err := report.Plot(&picture, p.form(), trace); err != nil {
		return fmt.Errorf("draw %s: %w", p.file, err)
	}
	if err := writeFile(p.file, picture.Bytes()); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	if p.slo == "" || p.tenant == "" && tenant.Name != "" {
		notes.Printf("%s shows %s/%s%s, which has most to show; --plot-slo and --plot-tenant choose another\n", p.file, one.Service, one.Name, ofTenant(tenant.Name))
	}
	return nil
}

func ofTenant(name string) string {
	if name == "" {
		return ""
	}
	return " for tenant " + report.Printable(name)
}
