package drift

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// Findings of the comparison with Datadog.
const (
	ruleDatadogDiffers   = "SB091"
	ruleDatadogAbsent    = "SB092"
	ruleDatadogCant      = "SB093"
	ruleDatadogConflict  = "SB094"
	ruleDatadogMonitor   = "SB095"
	ruleDatadogDashboard = "SB096"
	ruleDatadogReference = "SB097"
	ruleDatadogLink      = "SB098"
	ruleDatadogRead      = "SB099"
)

// ReadDatadog reads an export: a JSON file, or a directory of them at any depth. What can't be read is in the
// File's Err; links are not followed.
func ReadDatadog(name string) []File {
	info, err := os.Stat(name)
	if err != nil {
		return []File{{Name: filepath.ToSlash(name), Err: plainPath(err)}}
	}
	if !info.IsDir() {
		f := readForeign(os.DirFS(filepath.Dir(name)), filepath.Base(name), maxForeignFile)
		f.Name = filepath.ToSlash(name)
		return []File{f}
	}
	files := readTree(os.DirFS(name), maxForeignFile, func(file string) bool { return strings.EqualFold(path.Ext(file), ".json") }, nil)
	for i := range files {
		files[i].Name = path.Join(filepath.ToSlash(name), files[i].Name)
	}
	if len(files) == 0 {
		files = append(files, File{Name: filepath.ToSlash(name), Err: errors.New("holds no JSON file")})
	}
	return files
}

// datadogSLO is one SLO of an export.
type datadogSLO struct {
	*node
	id        string
	belonging belonging
	objective *slo.Objective // nil where no contract is known to be meant
}

// datadogMonitor is one monitor of an export.
type datadogMonitor struct {
	*node
	id        string
	belonging belonging
	query     datadogQuery
	readable  bool // the query has a threshold
	used      bool // a tier was found in it
}

// datadog is an export under comparison.
type datadog struct {
	sheet
	slos       []*datadogSLO
	monitors   []*datadogMonitor
	dashboards []*node
}

// Datadog compares the contract with what Datadog's API exported: SLOs, monitors and dashboards.
func Datadog(c Contract, files []File) Report {
	d := &datadog{sheet: sheet{contract: c, against: "datadog", rules: map[Verdict]string{
		Differs: ruleDatadogDiffers, Missing: ruleDatadogAbsent, Orphan: ruleDatadogAbsent, NotRepresentable: ruleDatadogCant,
	}}}
	for _, f := range files {
		d.read(f)
	}
	d.link()
	for _, s := range d.slos {
		d.compareSLO(s)
	}
	d.missingSLOs()
	d.compareMonitors()
	for _, n := range d.dashboards {
		d.compareDashboard(n)
	}
	return d.Report
}

func (d *datadog) read(f File) {
	at := slo.Position{File: f.Name}
	err := f.Err
	var tree *node
	if err == nil {
		var pos slo.Position
		if tree, pos, err = parseJSON(f.Name, f.Content); err != nil {
			at = pos
		}
	}
	if err != nil {
		d.unreadable(at, err.Error())
		return
	}
	if !d.take(tree, 0) {
		d.unreadable(at, "holds no SLO, monitor or dashboard as Datadog's API writes them")
	}
}

func (d *datadog) unreadable(at slo.Position, reason string) {
	d.put(nil, Fact{Subject: "Datadog export", Verdict: Unchecked, Got: reason, There: at, Rule: ruleDatadogRead,
		Remedy: "export it again, whole, through Datadog's API"})
}

// take sorts an object by its shape, or looks into the wrappers that the API puts round it.
func (d *datadog) take(n *node, depth int) bool {
	switch {
	case depth > 4:
		return false
	case n.get("errors") != nil && n.get("data") == nil && len(n.get("errors").strings()) > 0:
		d.unreadable(n.pos, "the API answered: "+strings.Join(n.get("errors").strings(), "; "))
		return true
	case n.get("widgets").items() != nil || n.get("layout_type") != nil && n.get("widgets") != nil:
		d.dashboards = append(d.dashboards, n)
		return true
	case n.get("thresholds").items() != nil:
		d.slos = append(d.slos, &datadogSLO{node: n, id: n.get("id").str(), belonging: datadogIdentity(n)})
		return true
	case n.get("query").str() != "" && n.get("type").str() != "":
		m := &datadogMonitor{node: n, id: n.get("id").str(), belonging: datadogIdentity(n)}
		m.query, m.readable = parseDatadogQuery(n.get("query").str())
		d.monitors = append(d.monitors, m)
		return true
	}
	known := n != nil && n.kind == listNode && len(n.values) == 0
	for _, item := range n.items() {
		known = d.take(item, depth+1) || known
	}
	for _, key := range []string{"data", "slos", "monitors", "dashboards", "slo", "monitor", "dashboard", "attributes"} {
		if inner := n.get(key); inner != nil {
			known = d.take(inner, depth+1) || known
		}
	}
	return known
}

func datadogIdentity(n *node) belonging {
	id := belonging{name: n.get("name").str()}
	for _, tag := range append(n.get("tags").strings(), n.get("all_tags").strings()...) {
		key, value, _ := strings.Cut(tag, ":")
		switch key {
		case "service":
			id.services = append(id.services, value)
		case "slo":
			id.slos = append(id.slos, value)
		}
	}
	return id
}

// link finds whose each SLO is, and says where it had to guess.
func (d *datadog) link() {
	tagged := map[string]int{}
	for _, s := range d.slos {
		for _, service := range s.belonging.services {
			tagged[service]++
		}
	}
	for _, s := range d.slos {
		s.belonging.alone = !slices.ContainsFunc(s.belonging.services, func(service string) bool { return tagged[service] > 1 })
		var by linkedBy
		s.objective, by = d.contract.link(s.belonging)
		if s.objective != nil && by != byTags {
			d.find(ruleDatadogLink, slo.Note, s.get("name").at(s.node),
				fmt.Sprintf("Datadog SLO %q is taken for %s by %s", s.belonging.name, s.objective.ID(), by),
				fmt.Sprintf("tag it service:%s and slo:%s", s.objective.Service, s.objective.Name))
		}
	}
}

// datadogTimeframes are the periods that an SLO can have there.
var datadogTimeframes = []time.Duration{7 * 24 * time.Hour, 30 * 24 * time.Hour, 90 * 24 * time.Hour}

func (d *datadog) compareSLO(s *datadogSLO) {
	d.targetAgrees(s)
	o := s.objective
	if o == nil {
		f := Fact{Subject: fmt.Sprintf("SLO %q", s.belonging.name), Verdict: Orphan, Got: s.get("type").str() + " SLO " + s.id, There: s.get("name").at(s.node),
			Remedy: "declare it in the sources, delete it there, or tag it service: and slo: so that it is found"}
		if !d.contract.ours(s.belonging) {
			f.Verdict, f.Got = Unchecked, "it names none of the services here"
		}
		d.put(nil, f)
		return
	}
	threshold, target := s.promise(o.Window)
	there := threshold.get("target").at(s.get("thresholds").or(s.node))
	if target == nil {
		d.put(o, Fact{Subject: "target", Verdict: Unchecked, Want: o.Target.String(), Got: "the SLO has no target that is a number", There: there, Rule: ruleDatadogReference})
	} else {
		d.put(o, Fact{Subject: "target", Verdict: verdictOf(equalNumbers(*target/100, float64(o.Target))), Want: o.Target.String(),
			Got: slo.FormatNumber(*target) + "%", There: there, Remedy: "make both say the same"})
	}
	d.compareWindow(s, threshold)
	d.put(o, Fact{Subject: "indicator", Verdict: Unchecked, Want: indicatorText(o.Indicator),
		Got: "a query in Datadog's own metrics, which can't be told equal to Prometheus's", There: s.get("query").at(s.get("sli_specification").or(s.node))})
}

// promise is the threshold of the period, else the SLO's primary one, and its target in percent.
func (s *datadogSLO) promise(window time.Duration) (threshold *node, target *float64) {
	for _, timeframe := range []string{slo.FormatWindow(window), s.get("timeframe").str()} {
		for _, t := range s.get("thresholds").items() {
			if threshold == nil && t.get("timeframe").str() == timeframe {
				threshold = t
			}
		}
	}
	if items := s.get("thresholds").items(); threshold == nil && len(items) > 0 {
		threshold = items[0]
	}
	if percent, ok := threshold.get("target").number(); ok {
		target = &percent
	}
	return threshold, target
}

func (d *datadog) compareWindow(s *datadogSLO, threshold *node) {
	o := s.objective
	f := Fact{Subject: "SLO window", Want: slo.FormatWindow(o.Window), Got: threshold.get("timeframe").str(), There: threshold.get("timeframe").at(s.node),
		Remedy: "make both say the same"}
	switch {
	case !slices.Contains(datadogTimeframes, o.Window):
		f.Verdict, f.Got = NotRepresentable, "an SLO has 7, 30 or 90 days there and this one has "+f.Got
		f.Remedy = "choose 7d, 30d or 90d, if Datadog is to tell the truth"
	default:
		f.Verdict = verdictOf(f.Got == f.Want)
	}
	d.put(o, f)
}

// targetAgrees holds the two places where an SLO carries its target against each other.
func (d *datadog) targetAgrees(s *datadogSLO) {
	second, ok := s.get("target_threshold").number()
	if !ok {
		return
	}
	for _, t := range s.get("thresholds").items() {
		first, ok := t.get("target").number()
		if ok && t.get("timeframe").str() == s.get("timeframe").str() && !equalNumbers(first, second) {
			d.find(ruleDatadogConflict, slo.Error, s.get("target_threshold").pos,
				fmt.Sprintf("Datadog SLO %q has target_threshold %s and in its thresholds a target of %s for %s", s.belonging.name,
					slo.FormatNumber(second), slo.FormatNumber(first), t.get("timeframe").str()), "set the target anew in Datadog")
		}
	}
}

// missingSLOs names the objectives that no SLO of the export is about.
func (d *datadog) missingSLOs() {
	for i := range d.contract.Objectives {
		o := &d.contract.Objectives[i]
		if slices.ContainsFunc(d.slos, func(s *datadogSLO) bool { return s.objective == o }) {
			continue
		}
		f := Fact{Subject: "SLO", Verdict: Missing, Want: o.Target.String() + " over " + slo.FormatWindow(o.Window), Remedy: "create it, tagged service: and slo:"}
		if len(d.slos) == 0 {
			f.Verdict, f.Got = Unchecked, "the export holds no SLO"
		}
		d.put(o, f)
	}
}
