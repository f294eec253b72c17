package drift

import (
	"cmp"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/inhibit"
	amlabels "github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

// AlertmanagerFile sends every tier of the contract, for every tenant, through the routes of an alertmanager.yml, by
// Alertmanager's own matching, and says who is told.
func AlertmanagerFile(c Contract, fsys fs.FS, file string, r Routing) (Report, []Route) {
	f := readForeign(fsys, file, maxFile)
	if f.Err != nil {
		return unreadAlertmanager(c, &fault{slo.Position{File: file}, f.Err})
	}
	return routesOf(c, file, f.Content, r)
}

func routesOf(c Contract, file string, text []byte, r Routing) (Report, []Route) {
	a, f := loadAlertmanager(file, text)
	if f != nil {
		return unreadAlertmanager(c, f)
	}
	a.deprecated()
	for _, o := range c.Objectives {
		for _, tenant := range a.tenants(o, r) {
			for _, t := range o.Policy.Tiers {
				a.route(o, t, tenant)
			}
		}
		a.inhibitions(o)
	}
	return a.Report, a.routes
}

// unreadAlertmanager says of each tier that its route is not known.
func unreadAlertmanager(c Contract, f *fault) (Report, []Route) {
	r := Report{Findings: []slo.Finding{f.finding(ruleUnreadAM, "mend it; amtool check-config says more")}}
	for _, o := range c.Objectives {
		for _, t := range o.Policy.Tiers {
			r.Facts = append(r.Facts, Fact{
				Against: "alertmanager", Subject: "route of the " + t.Name + " tier", Service: o.Service, SLO: o.Name, Tier: t.Name,
				Verdict: Unchecked, Want: wantRoute, Got: clip(f.err.Error()), Code: o.Source(), There: f.pos,
			})
		}
	}
	return r, nil
}

const wantRoute = "a receiver that tells somebody"

// alertmanager is one configuration under simulation.
type alertmanager struct {
	Report
	doc      *document
	root     *dispatch.Route
	nodes    map[*dispatch.Route]*yaml.Node // where each route stands
	rules    []*inhibit.InhibitRule
	ruleNode []*yaml.Node
	routes   []Route
}

var unknownField = regexp.MustCompile(`line (\d+): field (\S+) (?:not found in|already set)`)

// Fields that a newer Alertmanager knows are taken out and reported, so often at most.
const maxRereads = 20

// loadAlertmanager reads a configuration by upstream's own loader.
func loadAlertmanager(file string, text []byte) (*alertmanager, *fault) {
	doc, f := parseDocument(file, text)
	if f != nil {
		return nil, f
	}
	a := &alertmanager{doc: doc, nodes: map[*dispatch.Route]*yaml.Node{}}
	cfg, err := loadUpstream(text)
	for range maxRereads {
		if err == nil {
			break
		}
		shorter, name, pos := withoutField(doc, text, err)
		if name == "" {
			break
		}
		a.Findings = append(a.Findings, slo.Finding{
			Rule: ruleUnreadAM, Severity: slo.Note, Pos: pos, Message: clip("field " + name + " is not known here and is left out of the simulation"),
			Remedy: "check that it changes no route",
		})
		text = shorter
		cfg, err = loadUpstream(text)
	}
	if err != nil {
		return nil, &fault{lineOf(file, err), err}
	}
	a.root = dispatch.NewRoute(cfg.Route, nil)
	a.place(a.root, find(doc.trees[0], "route").value)
	for i, r := range cfg.InhibitRules {
		a.rules = append(a.rules, inhibit.NewInhibitRule(r))
		a.ruleNode = append(a.ruleNode, at(items(find(doc.trees[0], "inhibit_rules").value), i))
	}
	return a, nil
}

// loadUpstream guards against upstream's loader, which panics where a list holds an empty route.
func loadUpstream(text []byte) (cfg *amconfig.Config, err error) {
	defer func() {
		if p := recover(); p != nil {
			cfg, err = nil, fmt.Errorf("the loader of Alertmanager breaks on it: %v", p)
		}
	}()
	return amconfig.Load(string(text))
}

// withoutField blanks the field that the loader does not know. Lines stay where they are, so that places still hold.
func withoutField(doc *document, text []byte, err error) (shorter []byte, name string, pos slo.Position) {
	m := unknownField.FindStringSubmatch(err.Error())
	if m == nil {
		return nil, "", slo.Position{}
	}
	line, _ := strconv.Atoi(m[1])
	lines := strings.Split(string(text), "\n")
	if line < 1 || line > len(lines) {
		return nil, "", slo.Position{}
	}
	key, last := keyAt(doc.trees[0], m[2], line, len(lines)+1)
	if key == nil {
		return nil, "", slo.Position{}
	}
	for i := line - 1; i < last-1 && i < len(lines); i++ {
		lines[i] = ""
	}
	return []byte(strings.Join(lines, "\n")), m[2], doc.position(key)
}

// keyAt finds a key of a block mapping that begins its line, and the line where what follows it begins.
func keyAt(n *yaml.Node, name string, line, end int) (key *yaml.Node, last int) {
	if n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle == 0 {
		for i := 0; i+1 < len(n.Content); i += 2 {
			next := end
			if i+2 < len(n.Content) {
				next = n.Content[i+2].Line
			}
			if k := n.Content[i]; k.Line == line && k.Value == name && (i > 0 || n.Line == line && n.Column == k.Column) {
				return k, next
			}
			if key, last = keyAt(n.Content[i+1], name, line, next); key != nil {
				return key, last
			}
		}
		return nil, 0
	}
	for i, c := range n.Content {
		next := end
		if i+1 < len(n.Content) {
			next = n.Content[i+1].Line
		}
		if key, last = keyAt(c, name, line, next); key != nil {
			return key, last
		}
	}
	return nil, 0
}

func at(nodes []*yaml.Node, i int) *yaml.Node {
	if i < len(nodes) {
		return nodes[i]
	}
	return nil
}

// place notes where each route is written.
func (a *alertmanager) place(r *dispatch.Route, n *yaml.Node) {
	a.nodes[r] = n
	below := items(find(n, "routes").value)
	for i, child := range r.Routes {
		a.place(child, at(below, i))
	}
}

// tenants are those to try: any, those that the caller names, and those that the routes themselves name.
func (a *alertmanager) tenants(o slo.Objective, r Routing) []string {
	switch {
	case o.Tenant.Label == "":
		return []string{""}
	case o.Tenant.Static != "":
		return []string{o.Tenant.Static}
	}
	named := slices.Clone(r.Tenants)
	a.root.Walk(func(route *dispatch.Route) {
		for _, m := range route.Matchers {
			if m.Name != o.Tenant.Label {
				continue
			}
			for _, value := range strings.Split(strings.Trim(m.Value, "^$()?:"), "|") {
				if value != "" && regexp.QuoteMeta(value) == value {
					named = append(named, value)
				}
			}
		}
	})
	slices.Sort(named)
	named = slices.Compact(named)
	if len(r.Tenants) == 0 {
		named = append([]string{anyTenant}, named...)
	}
	return named
}

func labelSet(o slo.Objective, t slo.Tier, tenant string) model.LabelSet {
	set := model.LabelSet{}
	for name, value := range alertLabels(o, t, tenant).Map() {
		set[model.LabelName(name)] = model.LabelValue(value)
	}
	return set
}

// route simulates one alert.
func (a *alertmanager) route(o slo.Objective, t slo.Tier, tenant string) {
	matched := a.root.Match(labelSet(o, t, tenant))
	row := Route{Service: o.Service, SLO: o.Name, Tier: t.Name, Severity: t.Severity, Tenant: tenant, File: a.doc.file, Inhibited: a.silencers(o, t, tenant)}
	if tenant == anyTenant {
		row.Tenant = ""
	}
	f := Fact{
		Against: "alertmanager", Subject: "route of the " + t.Name + " tier", Service: o.Service, SLO: o.Name, Tier: t.Name, Tenant: row.Tenant,
		Want: wantRoute, Verdict: Differs, Code: o.Source(), There: slo.Position{File: a.doc.file}, Rule: ruleUnpaged, Remedy: "give the receiver a notifier, or the alert another route",
	}
	for i, r := range matched {
		row.Receivers = append(row.Receivers, r.RouteOpts.Receiver)
		tells := a.tells(r.RouteOpts.Receiver)
		if i == 0 || tells && !row.Paged {
			f.There = a.doc.position(a.nodes[r])
			row.Line = f.There.Line
			row.GroupBy, row.GroupWait, row.Repeat = groupBy(r), r.RouteOpts.GroupWait.String(), r.RouteOpts.RepeatInterval.String()
		}
		row.Paged = row.Paged || tells
	}
	f.Got = strings.Join(row.Receivers, ", ")
	if row.Paged {
		f.Verdict = Same
	} else {
		row.Why = "no notifier is set up for " + f.Got
		f.Got = "nobody: " + row.Why
	}
	if tenant != "" && tenant != anyTenant {
		f.Subject += " for tenant " + tenant
	}
	a.Facts = append(a.Facts, f)
	row.Why = cmp.Or(row.Why, a.muted(o, t, matched))
	a.routes = append(a.routes, row)
}

func groupBy(r *dispatch.Route) []string {
	if r.RouteOpts.GroupByAll {
		return []string{"..."}
	}
	var all []string
	for name := range r.RouteOpts.GroupBy {
		all = append(all, string(name))
	}
	slices.Sort(all)
	return all
}

// tells reports whether a receiver has any notifier.
func (a *alertmanager) tells(receiver string) bool {
	for _, n := range items(find(a.doc.trees[0], "receivers").value) {
		if text(find(n, "name").value) != receiver {
			continue
		}
		for _, e := range pairs(n) {
			if strings.HasSuffix(e.key.Value, "_configs") && len(items(e.value)) > 0 {
				return true
			}
		}
	}
	return false
}

// muted says when every route that tells somebody is muted at times.
func (a *alertmanager) muted(o slo.Objective, t slo.Tier, matched []*dispatch.Route) string {
	var when []string
	for _, r := range matched {
		if !a.tells(r.RouteOpts.Receiver) {
			continue
		}
		var of []string
		for _, name := range r.RouteOpts.MuteTimeIntervals {
			of = append(of, "muted during "+name+a.interval(name))
		}
		for _, name := range r.RouteOpts.ActiveTimeIntervals {
			of = append(of, "muted outside "+name+a.interval(name))
		}
		if len(of) == 0 {
			return ""
		}
		when = append(when, of...)
	}
	text := strings.Join(when, ", ")
	if text != "" && t.Severity == "page" {
		f := slo.Finding{
			Rule: ruleMuted, Severity: slo.Warning, Pos: a.doc.position(a.nodes[matched[0]]), Related: []slo.Position{o.Source()},
			Message: clip(fmt.Sprintf("%s: the page of the %s tier is %s", o.ID(), t.Name, text)), Remedy: "route pages past the time intervals",
		}
		if !slices.ContainsFunc(a.Findings, func(g slo.Finding) bool { return g.Pos == f.Pos && g.Message == f.Message }) {
			a.Findings = append(a.Findings, f)
		}
	}
	return text
}

// interval writes a time interval as its file does, in one line.
func (a *alertmanager) interval(name string) string {
	for _, key := range []string{"time_intervals", "mute_time_intervals"} {
		for _, n := range items(find(a.doc.trees[0], key).value) {
			if text(find(n, "name").value) == name {
				return " (" + oneLine(find(n, "time_intervals").value) + ")"
			}
		}
	}
	return ""
}

func oneLine(n *yaml.Node) string {
	switch n = resolve(n); {
	case n == nil:
		return ""
	case n.Kind == yaml.ScalarNode:
		return n.Value
	case n.Kind == yaml.SequenceNode:
		var all []string
		for _, c := range n.Content {
			all = append(all, oneLine(c))
		}
		return strings.Join(all, ", ")
	}
	var all []string
	for _, e := range pairs(n) {
		all = append(all, strings.ReplaceAll(e.key.Value, "_", " ")+" "+oneLine(e.value))
	}
	return strings.Join(all, " ")
}

// deprecated reports the old forms of matchers once, at the first.
func (a *alertmanager) deprecated() {
	old := []string{"match", "match_re", "source_match", "source_match_re", "target_match", "target_match_re"}
	var found []*yaml.Node
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for _, e := range pairs(n) {
			if slices.Contains(old, e.key.Value) {
				found = append(found, e.key)
			}
		}
		for _, c := range items(find(n, "routes").value) {
			walk(c)
		}
	}
	walk(find(a.doc.trees[0], "route").value)
	for _, n := range items(find(a.doc.trees[0], "inhibit_rules").value) {
		walk(n)
	}
	if len(found) > 0 {
		a.Findings = append(a.Findings, slo.Finding{
			Rule: ruleDeprecated, Severity: slo.Note, Pos: a.doc.position(found[0]),
			Message: fmt.Sprintf("%s is deprecated (%d uses)", found[0].Value, len(found)), Remedy: "write matchers, such as matchers: ['severity=\"page\"']",
		})
	}
}

func matcherText(ms amlabels.Matchers) string { return ms.String() }
