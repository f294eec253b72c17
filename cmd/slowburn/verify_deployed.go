package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/alerts"
	"github.com/slowburn/slowburn/drift"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
	"github.com/slowburn/slowburn/slo"
)

// deployment is what is found in the tree, or named by flags, of how the services are watched.
type deployment struct {
	prometheus   string // file or URL; empty where there is none
	alertmanager string
	datadog      []string
	ruleFiles    []string    // that --rules names
	books        []*ruleBook // the rule files, read
}

// maxDeployedFile bounds a file of configuration.
const maxDeployedFile = 16 << 20

// findDeployed looks for what the flags leave unsaid.
func findDeployed(dir string, s *verifySettings) (deployment, error) {
	d := deployment{prometheus: s.prometheus, alertmanager: s.alertmanager, datadog: s.datadog}
	if d.prometheus == "" {
		d.prometheus = firstFile(dir, "prometheus.yml", "prometheus.yaml")
	}
	if d.alertmanager == "" {
		d.alertmanager = firstFile(dir, "alertmanager.yml", "alertmanager.yaml")
	}
	if d.datadog == nil {
		if at := filepath.Join(dir, "datadog"); exists(at) {
			d.datadog = []string{at}
		}
	}
	for _, glob := range s.rules {
		if !filepath.IsAbs(glob) {
			glob = filepath.Join(dir, glob)
		}
		found, err := filepath.Glob(glob)
		if err != nil {
			return d, fmt.Errorf("--rules %q: %w", glob, err)
		}
		if len(found) == 0 {
			return d, fmt.Errorf("--rules %q: no file matches", glob)
		}
		d.ruleFiles = append(d.ruleFiles, found...)
	}
	slices.Sort(d.ruleFiles)
	d.ruleFiles = slices.Compact(d.ruleFiles)
	return d, nil
}

// read reads rule files for whoever replays them. One that can't be read is left out: drift has told of it.
func (d *deployment) read(dir string, files []string) {
	for _, file := range files {
		if book, err := readRules(dir, file); err == nil {
			d.books = append(d.books, book)
		}
	}
}

func firstFile(dir string, names ...string) string {
	for _, name := range names {
		if at := filepath.Join(dir, name); exists(at) {
			return at
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readRules reads a rule file as Prometheus would.
func readRules(dir, file string) (*ruleBook, error) {
	name := relative(dir, file)
	content, err := readBounded(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	groups, faults := rulefmt.Parse(content, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(faults) > 0 {
		return nil, fmt.Errorf("%s: %w", name, errors.Join(faults...))
	}
	return newRuleBook(name, groups.Groups), nil
}

// relative is a path as positions spell it.
func relative(dir, file string) string {
	if name, err := filepath.Rel(dir, file); err == nil && filepath.IsLocal(name) {
		return filepath.ToSlash(name)
	}
	return filepath.ToSlash(file)
}

func readBounded(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Size() > maxDeployedFile:
		return nil, fmt.Errorf("is larger than %d MiB", maxDeployedFile>>20)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDeployedFile))
}

// patience is how long a running program may take to answer one question.
const patience = 10 * time.Second

// within opens what holds a file, and gives the file's name in it: the scanned directory where it lies there, so that
// nothing outside is read; else the folder that the user named.
func within(dir, file string) (fs.FS, string, func(), error) {
	name, err := filepath.Rel(dir, file)
	if err != nil || !filepath.IsLocal(name) {
		dir, name = filepath.Dir(file), filepath.Base(file)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, "", nil, err
	}
	return root.FS(), filepath.ToSlash(name), func() { root.Close() }, nil //nolint:errcheck // it was read from
}

// contractSide is what every comparison starts from.
func (w *workspace) contractSide() drift.Contract {
	c := drift.Contract{Objectives: w.objectives, Groups: w.groups}
	for _, s := range w.topology.Services {
		one := drift.Service{Name: s.Known(), Pos: s.Pos}
		for _, t := range s.Targets {
			one.Targets = append(one.Targets, t.Scheme+"://"+t.Address+t.Path)
		}
		c.Services = append(c.Services, one)
	}
	return c
}

// compare sets the contract beside what is deployed.
func (v *verification) compare(ctx context.Context) (err error) {
	if v.deployed, err = findDeployed(v.dir, v.set); err != nil {
		return err
	}
	c := v.contractSide()
	reports := []drift.Report{drift.Compose(c)}
	for _, one := range []func(context.Context, drift.Contract) (drift.Report, error){v.comparePrometheus, v.compareRules, v.compareExports, v.compareLive} {
		r, err := one(ctx, c)
		if err != nil {
			return err
		}
		reports = append(reports, r)
	}
	v.drift = drift.Join(reports...)
	return v.detect(ctx)
}

func (v *verification) comparePrometheus(ctx context.Context, c drift.Contract) (drift.Report, error) {
	at := v.deployed.prometheus
	switch {
	case at == "":
		return drift.Report{}, nil
	case isServer(at):
		return drift.PrometheusAt(ctx, c, drift.Endpoint{URL: at}), nil
	}
	fsys, name, done, err := within(v.dir, at)
	if err != nil {
		return drift.Report{}, fmt.Errorf("--prometheus: %w", err)
	}
	defer done()
	if len(v.deployed.ruleFiles) > 0 { // the flag says which rules are deployed, whatever the file says
		r, _ := drift.PrometheusFile(c, fsys, name, drift.Deployment{Compose: v.topology.Files})
		return withoutRules(r), nil
	}
	r, files := drift.PrometheusFile(c, fsys, name, drift.Deployment{Compose: v.topology.Files})
	base := strings.TrimSuffix(filepath.ToSlash(at), name)
	for k := range files {
		files[k] = filepath.Join(base, filepath.FromSlash(files[k]))
	}
	v.deployed.read(v.dir, files)
	return r, nil
}

// withoutRules leaves out what a configuration says of the rule files that it names.
func withoutRules(r drift.Report) drift.Report {
	rules := []string{"SB070", "SB071", "SB072", "SB073", "SB079"}
	r.Facts = slices.DeleteFunc(r.Facts, func(f drift.Fact) bool { return slices.Contains(rules, f.Rule) })
	r.Findings = slices.DeleteFunc(r.Findings, func(f slo.Finding) bool { return slices.Contains(rules, f.Rule) })
	return r
}

// compareRules compares the files of --rules.
func (v *verification) compareRules(_ context.Context, c drift.Contract) (drift.Report, error) {
	if len(v.deployed.ruleFiles) == 0 {
		return drift.Report{}, nil
	}
	root, err := os.OpenRoot(commonFolder(v.dir, v.deployed.ruleFiles))
	if err != nil {
		return drift.Report{}, fmt.Errorf("--rules: %w", err)
	}
	defer root.Close()
	var names []string
	for _, file := range v.deployed.ruleFiles {
		names = append(names, relative(root.Name(), file))
	}
	v.deployed.read(v.dir, v.deployed.ruleFiles)
	return drift.RuleFiles(c, root.FS(), names), nil
}

// commonFolder is dir where all files lie there, else the folder above all of them.
func commonFolder(dir string, files []string) string {
	for _, file := range files {
		for {
			name, err := filepath.Rel(dir, file)
			if err == nil && filepath.IsLocal(name) {
				break
			}
			up := filepath.Dir(filepath.Clean(dir))
			if abs, err := filepath.Abs(dir); err == nil && up == dir {
				up = filepath.Dir(abs)
			}
			if up == dir {
				break
			}
			dir = up
		}
	}
	return dir
}

// compareExports compares what other SLO tools hold: Datadog's exports, and specs found in the tree.
func (v *verification) compareExports(_ context.Context, c drift.Contract) (drift.Report, error) {
	var all drift.Report
	if len(v.deployed.datadog) > 0 {
		var files []drift.File
		for _, name := range v.deployed.datadog {
			for _, f := range drift.ReadDatadog(name) {
				f.Name = relative(v.dir, filepath.FromSlash(f.Name))
				files = append(files, f)
			}
		}
		all = drift.Datadog(c, files)
	}
	if specs := drift.FindSpecs(v.dir); len(specs) > 0 {
		all = drift.Join(all, drift.Specs(c, specs))
	}
	return all, nil
}

// compareLive asks the running services, where --live says so: in a pipeline none runs, and silence would be drift.
func (v *verification) compareLive(ctx context.Context, c drift.Contract) (drift.Report, error) {
	if !v.set.live {
		return drift.Report{}, nil
	}
	return drift.Exporters(ctx, c, &http.Client{Timeout: patience}), nil
}

func (v *verification) tellDrift() (string, map[string]any) {
	drifting, compared := v.drift.Share()
	against, count := map[string]int{}, map[drift.Verdict]int{}
	for _, f := range v.drift.Facts {
		against[f.Against]++
		count[f.Verdict]++
	}
	detail := fmt.Sprintf("%d of %s drift", drifting, report.Count(compared, "compared fact"))
	if n := count[drift.Unchecked]; n > 0 {
		detail += fmt.Sprintf(", %d could not be checked", n)
	}
	if n := count[drift.NotRepresentable]; n > 0 {
		detail += fmt.Sprintf(", %d can't be represented there", n)
	}
	detail += "; against " + orNone(slices.Sorted(maps.Keys(against)))
	return detail, map[string]any{
		"compared": compared, "drifting": drifting, "unchecked": count[drift.Unchecked],
		"not_representable": count[drift.NotRepresentable], "facts_by_artefact": against,
	}
}

func (v *verification) driftCheck() report.Check {
	drifting, compared := v.drift.Share()
	return report.Share(drifting, compared, "compared facts that differ, are missing, or are of no contract")
}

// sync follows every alert through Alertmanager's routes.
func (v *verification) sync(ctx context.Context) error {
	c, at := v.contractSide(), v.deployed.alertmanager
	routing := drift.Routing{Tenants: v.tenants()}
	var r drift.Report
	switch {
	case at == "":
	case isServer(at):
		r, v.routes = drift.AlertmanagerAt(ctx, c, drift.Endpoint{URL: at}, routing)
	default:
		fsys, name, done, err := within(v.dir, at)
		if err != nil {
			return fmt.Errorf("--alertmanager: %w", err)
		}
		defer done()
		r, v.routes = drift.AlertmanagerFile(c, fsys, name, routing)
	}
	v.drift = drift.Join(v.drift, r)
	v.cover()
	if at == "" {
		return errSkip("no Alertmanager configuration was found: --alertmanager names one")
	}
	if len(v.routes) == 0 && len(v.objectives) > 0 {
		return errSkip("the Alertmanager configuration can't be read, see the findings: no alert could be followed")
	}
	return v.provePage(ctx)
}

// tenants are those that the history holds events of.
func (v *verification) tenants() []string {
	if v.present == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, o := range v.objectives {
		if o.Tenant.Label == "" {
			continue
		}
		for _, l := range v.present.all {
			if tenant := l.Get(o.Tenant.Label); tenant != "" {
				seen[tenant] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// provePage sends one marked test alert of each SLO's fastest tier, where --prove-page says so.
func (v *verification) provePage(ctx context.Context) error {
	if !v.set.provePage {
		return nil
	}
	for _, o := range v.objectives {
		labels := map[string]string{"alertname": rulegen.AlertName, "service": o.Service, "slo": o.Name, "severity": o.Policy.Tiers[0].Severity, "burn_tier": o.Policy.Tiers[0].Name}
		if tenants := v.tenants(); o.Tenant.Label != "" && len(tenants) > 0 {
			labels[o.Tenant.Label] = tenants[0]
		}
		proof, err := alerts.Prove(ctx, alerts.Endpoint{URL: v.deployed.alertmanager}, labels, time.Now())
		switch {
		case err != nil:
			v.find("SB119", slo.Error, o.Source(), "", "%s: the test alert of --prove-page: %v", o.ID(), err)
		case len(proof.Receivers) == 0 || proof.State == "suppressed":
			v.find("SB119", slo.Error, o.Source(), "", "%s: the test alert of --prove-page is %s and reaches %s: %s", o.ID(), proof.State, orNone(proof.Receivers), orNone(proof.Held))
		default:
			v.proved = append(v.proved, fmt.Sprintf("%s reached %s", o.ID(), strings.Join(proof.Receivers, ", ")))
		}
	}
	return nil
}

func (v *verification) tellRoutes() (string, map[string]any) {
	reach, nobody, receivers := 0, 0, map[string]bool{}
	for _, r := range v.routes {
		if !r.Paged {
			nobody++
			continue
		}
		reach++
		for _, name := range r.Receivers {
			receivers[name] = true
		}
	}
	detail := fmt.Sprintf("%d of %s reach %s by %s", reach, report.Count(len(v.routes), "route"), orNone(slices.Sorted(maps.Keys(receivers))), relative(v.dir, v.deployed.alertmanager))
	if nobody > 0 {
		detail += fmt.Sprintf("; %d reach nobody", nobody)
	}
	if len(v.proved) > 0 {
		detail += "; test alerts: " + strings.Join(v.proved, "; ")
	}
	return detail, map[string]any{"routes": len(v.routes), "reach_a_receiver": reach, "reach_nobody": nobody, "receivers": slices.Sorted(maps.Keys(receivers)), "test_alerts": len(v.proved)}
}
