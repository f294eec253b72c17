package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slowburn/slowburn/contract"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/slo"
	"github.com/slowburn/slowburn/topology"
)

func newScan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scan [DIR]",
		Short: "Show the services and the SLOs that their sources declare",
		Long: `scan reads the Compose files and the TypeScript sources below DIR and shows every SLO: its target and
budget, its alerting threshold in all equivalents, whose budget it is, and where it is declared.
What can't be resolved is a finding at its place; nothing is guessed.`,
		Example: `  slowburn scan
  slowburn scan services -o json | jq .declarations
  slowburn scan --docker             # and compare with the containers that run here
  slowburn scan --explain services/api/src/api.ts:12`,
		Args: cobra.MaximumNArgs(1),
	}
	settings := addReadFlags(cmd)
	explain := cmd.Flags().String("explain", "", "FILE:LINE of a declaration: say step by step how its values were resolved")
	failOn := addFailOn(cmd)
	addOutput(cmd, "table", "json", "yaml", "sarif")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir, form, err := begin(cmd, args, settings)
		if err != nil {
			return err
		}
		bar, err := slo.ParseSeverity(*failOn)
		if err != nil {
			return fmt.Errorf("--fail-on: %w", err)
		}
		w, err := readWorkspace(cmd.Context(), dir, *settings)
		if err != nil {
			return err
		}
		if *explain != "" {
			return writeExplanation(cmd.OutOrStdout(), w.contract, *explain)
		}
		if err := writeScan(cmd, form, w); err != nil {
			return err
		}
		return w.judge(bar)
	}
	return cmd
}

func addFailOn(cmd *cobra.Command) *string {
	failOn := cmd.Flags().String("fail-on", slo.Error.String(), "severity of findings that makes the exit status 1: error, warning, note")
	mustComplete(cmd, "fail-on", []string{"error", "warning", "note"})
	return failOn
}

// judge turns findings into an exit status. Compose files that could not be read are no answer at all.
func (w *workspace) judge(failOn slo.Severity) error {
	if report.AtOrAbove(w.topology.Findings, slo.Error) > 0 {
		return errTopology
	}
	if report.AtOrAbove(w.findings, failOn) > 0 {
		return errFindings
	}
	return nil
}

var errTopology = fmt.Errorf("the Compose files have faults, see above; mend them first")

// scanned is the JSON form of a scan.
type scanned struct {
	Directory    string                 `json:"directory"`
	Services     []topology.Service     `json:"services"`
	Engine       *topology.Engine       `json:"engine,omitempty"` // with --docker
	Declarations []contract.Declaration `json:"declarations"`
	SLOs         []scannedSLO           `json:"slos"`
	Findings     []slo.Finding          `json:"findings"`
	Stats        contract.Stats         `json:"stats"`
}

type scannedSLO struct {
	Service  string         `json:"service"`
	Name     string         `json:"name"`
	Target   float64        `json:"target"`
	Budget   float64        `json:"budget"`
	Window   string         `json:"window"`
	Tenants  string         `json:"tenants"`
	Tiers    []scannedTier  `json:"tiers"`
	Declared []slo.Position `json:"declared"`
}

// scannedTier is a threshold in all its equivalents.
type scannedTier struct {
	Name        string  `json:"name"`
	Severity    string  `json:"severity"`
	Long        string  `json:"long_window"`
	Short       string  `json:"short_window"`
	BurnRate    float64 `json:"burn_rate"`
	ErrorRatio  float64 `json:"error_ratio"`
	BudgetSpent float64 `json:"budget_spent"` // share of the budget gone when the long window is full of it
}

func writeScan(cmd *cobra.Command, form string, w *workspace) error {
	out := cmd.OutOrStdout()
	switch form {
	case "table":
		writeScanTable(text(out), w)
		text(cmd.ErrOrStderr()).Findings(w.findings)
		return nil
	case "sarif":
		return report.WriteSARIF(out, w.findings, version)
	}
	text(cmd.ErrOrStderr()).Findings(w.findings)
	return writeAs(out, form, scanned{
		Directory: w.dir, Services: w.topology.Services, Engine: w.engine, Declarations: orEmpty(w.contract.Declarations),
		SLOs: scannedSLOs(w.objectives), Findings: orEmpty(w.findings), Stats: w.contract.Stats,
	})
}

func scannedSLOs(objectives []slo.Objective) []scannedSLO {
	slos := []scannedSLO{}
	for _, o := range objectives {
		s := scannedSLO{
			Service: o.Service, Name: o.Name, Target: float64(o.Target), Budget: o.Target.Budget(),
			Window: slo.FormatWindow(o.Window), Tenants: tenants(o.Tenant), Declared: o.Declared,
		}
		for _, t := range o.Policy.Tiers {
			s.Tiers = append(s.Tiers, scannedTier{
				Name: t.Name, Severity: t.Severity, Long: slo.FormatWindow(t.Long), Short: slo.FormatWindow(t.Short),
				BurnRate: t.Factor, ErrorRatio: o.Target.ErrorRatio(t.Factor), BudgetSpent: slo.BudgetSpent(t.Factor, t.Long, o.Window),
			})
		}
		slos = append(slos, s)
	}
	return slos
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func writeScanTable(t report.Text, w *workspace) {
	writeServices(t, w)
	if len(w.objectives) == 0 {
		t.Printf("No SLO is declared below %s.\n", report.Printable(w.dir))
		return
	}
	var rows [][]report.Cell
	for _, o := range w.objectives {
		rows = append(rows, sloRows(o)...)
	}
	t.Table([]string{"SERVICE", "SLO", "TARGET", "BUDGET", "ALERTS ABOVE", "ERRORS", "OVER", "BUDGET GONE", "TENANTS", "DECLARED AT"}, rows)
	t.Printf("\n%s in %s over %s; %s read, %s parsed.\n",
		report.Count(len(w.contract.Declarations), "declaration"), report.Count(len(w.objectives), "SLO"), report.Count(services(w.objectives), "service"),
		report.Count(w.contract.Stats.Files, "source file"), strconv.Itoa(w.contract.Stats.Parsed))
}

// sloRows is one line per tier or declaration, whichever are more, so that all of both is seen.
func sloRows(o slo.Objective) [][]report.Cell {
	var rows [][]report.Cell
	for i := range max(len(o.Policy.Tiers), len(o.Declared)) {
		row := make([]report.Cell, 10)
		if i == 0 {
			row[0] = report.Cell{Text: o.Service, Style: report.Bold}
			row[1].Text = o.Name
			row[2].Text = o.Target.String()
			row[3].Text = slo.FormatPercent(o.Target.Budget()) + " of " + slo.FormatWindow(o.Window)
			row[8].Text = tenants(o.Tenant)
		}
		if i < len(o.Policy.Tiers) {
			t := o.Policy.Tiers[i]
			row[4].Text = slo.FormatNumber(t.Factor) + "x"
			row[5].Text = slo.FormatPercent(o.Target.ErrorRatio(t.Factor))
			row[6].Text = slo.FormatWindow(t.Long) + "/" + slo.FormatWindow(t.Short) + " " + t.Severity
			row[7].Text = percent(slo.BudgetSpent(t.Factor, t.Long, o.Window))
		}
		if i < len(o.Declared) {
			row[9].Text = o.Declared[i].String()
		}
		for _, right := range []int{2, 4, 5, 7} {
			row[right].Right = true
		}
		rows = append(rows, row)
	}
	return rows
}

// percent prints a share with three digits: 2%, 0.0333%.
func percent(share float64) string { return strconv.FormatFloat(share*100, 'g', 3, 64) + "%" }

func tenants(t slo.Tenant) string {
	switch {
	case t.Static != "":
		return t.Static
	case t.Label != "":
		return "each " + t.Label
	case t.Dynamic != "":
		return "each " + t.Dynamic
	}
	return "all as one"
}

func services(objectives []slo.Objective) int {
	seen := map[string]bool{}
	for _, o := range objectives {
		seen[o.Service] = true
	}
	return len(seen)
}

func writeServices(t report.Text, w *workspace) {
	if len(w.topology.Services) == 0 {
		t.Printf("No Compose file in %s: services are named after their package.json.\n\n", report.Printable(w.dir))
		return
	}
	count := map[string]int{}
	for _, o := range w.objectives {
		count[o.Service]++
	}
	var rows [][]report.Cell
	for _, s := range w.topology.Services {
		row := report.Cells(s.Known(), image(s), strings.TrimSpace(s.Runtime.Name+" "+s.Runtime.Version), addresses(s), strconv.Itoa(count[s.Known()]))
		row[4].Right = true
		if count[s.Known()] == 0 {
			row[4] = report.Cell{Text: "none", Style: report.Yellow, Right: true}
		}
		rows = append(rows, row)
	}
	t.Table([]string{"SERVICE", "IMAGE", "RUNTIME", "SCRAPED AT", "SLOS"}, rows)
	t.Printf("\n")
}

func image(s topology.Service) string {
	if s.BaseImage != "" {
		return s.BaseImage
	}
	return s.Image
}

func addresses(s topology.Service) string {
	var all []string
	for _, t := range s.Targets {
		all = append(all, t.Address+t.Path)
	}
	return strings.Join(all, ", ")
}

// writeExplanation answers --explain FILE:LINE.
func writeExplanation(w io.Writer, r *contract.Result, place string) error {
	file, number, found := strings.Cut(place, ":")
	line, err := strconv.Atoi(number)
	if !found || err != nil {
		return fmt.Errorf("--explain %q: write FILE:LINE, such as services/api/src/api.ts:12", place)
	}
	steps, ok := r.Explain(filepath.ToSlash(filepath.Clean(file)), line)
	if !ok {
		return fmt.Errorf("--explain %s: no declaration there; slowburn scan lists where they are", place)
	}
	var rows [][]report.Cell
	last := ""
	for _, s := range steps {
		row := report.Cells(s.Field, s.Text, s.Pos.String())
		row[0].Style = report.Bold
		if s.Field == last {
			row[0].Text = ""
		}
		last = s.Field
		rows = append(rows, row)
	}
	text(w).Table([]string{"FIELD", "STEP", "AT"}, rows)
	return nil
}
