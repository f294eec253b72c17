package drift

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

// samplesPerWindow is how many scrapes, and how many evaluations, the shortest window must hold. rate needs two
// samples; with four, any one scrape may fail, and the window's edges may fall badly, and two are left.
const samplesPerWindow = 4

// defaultRetention is what Prometheus keeps where nobody says how long.
const defaultRetention = 15 * 24 * time.Hour

// PrometheusFile compares a prometheus.yml with the contract: the rules it loads, what it scrapes and how often, how
// long it keeps samples, and where its alerts go. It returns the rule files that it loads, for whoever replays them.
// Nothing outside fsys is read.
func PrometheusFile(c Contract, fsys fs.FS, file string, d Deployment) (Report, []string) {
	doc, f := readDocument(fsys, file)
	if f != nil {
		r := unaskedPrometheus(c, f.pos, f.err.Error())
		r.Findings = append(r.Findings, f.finding(ruleUnreadProm, "mend the file; promtool check config says more"))
		return r, nil
	}
	p := &prometheus{contract: c, doc: doc, fsys: fsys, how: findCommand(fsys, file, d)}
	files := p.ruleFiles()
	set := readRules(fsys, files)
	set.partial = set.partial || p.partial
	set.index()
	p.Report = Join(p.Report, set.compare(c, "prometheus", doc.position(p.at("rule_files").key)))
	p.scraping()
	p.retention(p.how.retention())
	p.sending()
	return p.Report, files
}

// prometheus is one configuration under comparison.
type prometheus struct {
	Report
	contract Contract
	doc      *document
	fsys     fs.FS // nil for a running one
	how      command
	partial  bool // rule files are named that can't be read
}

// at finds what the configuration says under a path of keys.
func (p *prometheus) at(keys ...string) entry {
	for _, tree := range p.doc.trees {
		if e := find(tree, keys...); e.value != nil {
			return e
		}
	}
	return entry{}
}

func (p *prometheus) note(rule string, severity slo.Severity, pos slo.Position, message, remedy string) {
	p.Findings = append(p.Findings, slo.Finding{Rule: rule, Severity: severity, Pos: pos, Message: clip(message), Remedy: remedy})
}

func (p *prometheus) add(f Fact) {
	f.Against = "prometheus"
	f.Want, f.Got = clip(f.Want), clip(f.Got)
	p.Facts = append(p.Facts, f)
}

// ruleFiles lists the files that the patterns under rule_files match.
func (p *prometheus) ruleFiles() []string {
	var all []string
	for _, n := range items(p.at("rule_files").value) {
		matched, err := p.glob(text(n))
		switch {
		case err != nil:
			p.partial = true
			p.note(ruleUnreadRules, slo.Error, p.doc.position(n), fmt.Sprintf("rule files %q are not compared: %v", text(n), err), "move them inside the scanned directory, or mount them by a Compose file there")
		case len(matched) == 0:
			p.note(ruleUnreadRules, slo.Warning, p.doc.position(n), fmt.Sprintf("rule files %q: no file matches", text(n)), "write the rules there: slowburn generate --format prometheus")
		}
		all = append(all, matched...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// glob finds files by a pattern of the configuration: relative to it, or as mounted into Prometheus's container.
func (p *prometheus) glob(pattern string) ([]string, error) {
	var firstErr error
	for _, local := range p.how.local(p.doc.file, pattern) {
		if !fs.ValidPath(local) {
			firstErr = cmp.Or(firstErr, errOutside)
			continue
		}
		matched, err := fs.Glob(p.fsys, local)
		if err != nil {
			return nil, err
		}
		if len(matched) > 0 {
			return matched, nil
		}
	}
	if len(p.how.local(p.doc.file, pattern)) == 0 {
		return nil, errUnmounted
	}
	return nil, firstErr
}

// duration reads a duration of the configuration; ok is false where it says none that can be read.
func (p *prometheus) duration(e entry, otherwise time.Duration) (d time.Duration, ok bool) {
	if e.value == nil || text(e.value) == "" {
		return otherwise, true
	}
	parsed, err := model.ParseDuration(text(e.value))
	if err != nil || parsed <= 0 {
		p.note(ruleUnreadProm, slo.Error, p.doc.position(e.key), fmt.Sprintf("%s %q is no duration", e.key.Value, text(e.value)), "write a duration such as 15s")
		return 0, false
	}
	return time.Duration(parsed), true
}

// scraping compares each service's job and its intervals, and how often rules are evaluated.
func (p *prometheus) scraping() {
	global, globalOK := p.duration(p.at("global", "scrape_interval"), time.Duration(promconfig.DefaultGlobalConfig.ScrapeInterval))
	jobs := p.jobs(global, globalOK)
	for _, o := range p.contract.Objectives {
		p.scraped(o, jobs)
	}
	p.evaluated()
}

// shortest is the shortest window that an objective reads.
func shortest(o slo.Objective) time.Duration {
	all := append(o.Policy.Windows(), o.Record...)
	if len(all) == 0 {
		return 0
	}
	return slices.Min(all)
}

func (p *prometheus) scraped(o slo.Objective, jobs []job) {
	f := Fact{Subject: "scrape job", Service: o.Service, SLO: o.Name, Want: "a job that scrapes " + o.Service, Code: o.Source(), There: p.doc.position(p.at("scrape_configs").key), Rule: ruleUnscraped, Remedy: "add a job for it to scrape_configs"}
	service := p.service(o.Service)
	best := scrapes{verdict: Missing}
	var by job
	for _, j := range jobs {
		if s := j.covers(service); rank(s.verdict) > rank(best.verdict) {
			best, by = s, j
		}
	}
	f.Verdict, f.Got = best.verdict, best.how
	if best.verdict == Unchecked {
		f.Severity = slo.Warning
	}
	if best.verdict != Missing {
		f.There = by.pos
	}
	p.add(f)
	if best.verdict != Missing && by.known {
		p.interval(o, by)
	}
}

// interval compares how often a job scrapes with the shortest window.
func (p *prometheus) interval(o slo.Objective, by job) {
	limit := shortest(o) / samplesPerWindow
	p.add(Fact{
		Subject: "scrape interval of job " + by.name, Service: o.Service, SLO: o.Name, Code: o.Source(), There: by.intervalPos,
		Verdict: verdictOf(by.interval <= limit), Got: model.Duration(by.interval).String(), Rule: ruleInterval,
		Want:   fmt.Sprintf("at most %s, for %d samples in %s", model.Duration(limit), samplesPerWindow, slo.FormatWindow(shortest(o))),
		Remedy: "shorten scrape_interval",
	})
}

// rank orders what several jobs say of one service.
func rank(v Verdict) int { return slices.Index([]Verdict{Missing, Differs, Unchecked, Same}, v) }

func (p *prometheus) service(name string) Service {
	for _, s := range p.contract.Services {
		if s.Name == name {
			return s
		}
	}
	return Service{Name: name}
}

// evaluated compares the evaluation interval with the shortest window of all.
func (p *prometheus) evaluated() {
	e := p.at("global", "evaluation_interval")
	interval, ok := p.duration(e, time.Duration(promconfig.DefaultGlobalConfig.EvaluationInterval))
	if !ok || len(p.contract.Objectives) == 0 {
		return
	}
	o := slices.MinFunc(p.contract.Objectives, func(a, b slo.Objective) int { return cmp.Compare(shortest(a), shortest(b)) })
	limit := shortest(o) / samplesPerWindow
	pos := p.doc.position(e.key)
	p.add(Fact{
		Subject: "evaluation interval", Code: o.Source(), There: pos, Verdict: verdictOf(interval <= limit), Got: model.Duration(interval).String(), Rule: ruleInterval,
		Want:   fmt.Sprintf("at most %s, for %d evaluations in %s", model.Duration(limit), samplesPerWindow, slo.FormatWindow(shortest(o))),
		Remedy: "shorten evaluation_interval",
	})
}

// kept says how long samples are kept, and where that is said.
type kept struct {
	time  time.Duration
	known bool
	how   string
	pos   slo.Position
}

// retention compares how long samples are kept with the longest window. The configuration wins over the flag.
func (p *prometheus) retention(k kept) {
	if len(p.contract.Objectives) == 0 {
		return
	}
	if e := p.at("storage", "tsdb", "retention", "time"); e.value != nil {
		d, ok := p.duration(e, 0)
		k = kept{time: d, known: ok, how: cmp.Or(text(e.value), "nothing that can be read"), pos: p.doc.position(e.key)}
	}
	o := slices.MaxFunc(p.contract.Objectives, func(a, b slo.Objective) int { return cmp.Compare(a.Window, b.Window) })
	f := Fact{
		Subject: "retention", Want: "at least " + slo.FormatWindow(o.Window) + ", the window of " + o.ID(), Got: k.how, Code: o.Source(), There: k.pos,
		Rule: ruleRetention, Verdict: Unchecked, Severity: slo.Note, Remedy: "raise --storage.tsdb.retention.time",
	}
	if f.There.File == "" {
		f.There = slo.Position{File: p.doc.file}
	}
	if k.known {
		f.Verdict, f.Severity = verdictOf(k.time >= o.Window), slo.Error
	}
	p.add(f)
}

// unaskedPrometheus says of each tier that it is not compared, and why.
func unaskedPrometheus(c Contract, where slo.Position, reason string) Report {
	var r Report
	for _, o := range c.Objectives {
		for _, t := range o.Policy.Tiers {
			r.Facts = append(r.Facts, Fact{
				Against: "prometheus", Subject: "alert of the " + t.Name + " tier", Service: o.Service, SLO: o.Name, Tier: t.Name,
				Verdict: Unchecked, Want: promise{Objective: o}.tierWording(t), Got: clip(reason), Code: o.Source(), There: where,
			})
		}
	}
	return r
}

// withoutGlob reports whether a path names one file.
func withoutGlob(pattern string) bool { return !strings.ContainsAny(pattern, `*?[\`) }

// beside is a path of a file, seen from the directory that is scanned.
func beside(file, name string) string { return path.Join(path.Dir(file), name) }

// decode reads part of a configuration into upstream's own type.
func decode(n *yaml.Node, into any) error {
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(text, into)
}
