package drift

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slowburn/slowburn/slo"
)

// Findings of the comparison with OpenSLO, Sloth and Pyrra.
const (
	ruleSpecDiffers = "SB100"
	ruleSpecAbsent  = "SB101"
	ruleSpecCant    = "SB102"
	ruleSpecUnclear = "SB103"
	ruleSpecRead    = "SB104"
)

// maxSpec bounds a spec: the largest in the field are a few hundred kilobytes.
const maxSpec = 1 << 20

// FindSpecs reads the YAML files below dir that are specs of OpenSLO, Sloth or Pyrra by what they say of
// themselves. Nothing outside of dir is read; node_modules, vendor and hidden folders are left out.
func FindSpecs(dir string) []File {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return []File{{Name: ".", Err: plainPath(err)}}
	}
	defer root.Close()
	yamlFile := func(name string) bool {
		return slices.Contains([]string{".yaml", ".yml"}, strings.ToLower(path.Ext(name)))
	}
	return readTree(root.FS(), maxSpec, yamlFile, looksLikeSpec)
}

// specMarkers are the words of which every spec has at least one.
var specMarkers = [][]byte{[]byte("openslo/v"), []byte("openslo.com/v"), []byte("prometheus/v1"), []byte("sloth.slok.dev/"), []byte("pyrra.dev/v")}

func looksLikeSpec(content []byte) bool {
	return slices.ContainsFunc(specMarkers, func(m []byte) bool { return bytes.Contains(content, m) })
}

// spec is one SLO of another tool's file.
type spec struct {
	*node
	belonging
	objective *slo.Objective
}

// specs is a tree's specs under comparison: a sheet for each format.
type specs struct {
	contract Contract
	openslo  openSLO
	sloth    sheet
	pyrra    sheet
	found    map[string][]*spec // by sheet
}

// Specs compares the contract with the OpenSLO, Sloth and Pyrra specs that FindSpecs found.
func Specs(c Contract, files []File) Report {
	rules := map[Verdict]string{Differs: ruleSpecDiffers, Missing: ruleSpecAbsent, Orphan: ruleSpecAbsent, NotRepresentable: ruleSpecCant}
	s := &specs{contract: c, found: map[string][]*spec{}}
	s.openslo.sheet = sheet{contract: c, against: "openslo", rules: rules}
	s.sloth = sheet{contract: c, against: "sloth", rules: rules}
	s.pyrra = sheet{contract: c, against: "pyrra", rules: rules}
	unread := sheet{contract: c, against: "openslo, sloth, pyrra"}
	for _, f := range files {
		documents, err := []*node(nil), f.Err
		if err == nil {
			documents, err = parseYAML(f.Name, f.Content)
		}
		if err != nil {
			unread.put(nil, Fact{Subject: "spec", Verdict: Unchecked, Got: err.Error(), There: yamlFault(f.Name, err), Rule: ruleSpecRead, Remedy: "mend the file"})
		}
		for _, document := range documents {
			s.take(document, 0)
		}
	}
	s.compare()
	return Join(unread.Report, s.openslo.Report, s.sloth.Report, s.pyrra.Report)
}

var specLine = regexp.MustCompile(`\bline ([0-9]{1,9})\b`)

// yamlFault reads the place out of the YAML parser's error.
func yamlFault(file string, err error) slo.Position {
	at := slo.Position{File: file}
	if m := specLine.FindStringSubmatch(err.Error()); m != nil {
		at.Line, _ = strconv.Atoi(m[1])
	}
	return at
}

// take sorts a document by what it says it is. Others are nobody's business here.
func (s *specs) take(n *node, depth int) {
	if depth > 2 {
		return
	}
	for _, item := range n.items() {
		s.take(item, depth+1)
	}
	if n.get("kind").str() == "List" {
		s.take(n.get("items"), depth)
	}
	version := n.get("apiVersion").str()
	switch {
	case version == "openslo/v1" || version == "openslo.com/v1":
		s.openslo.take(n)
	case strings.HasPrefix(version, "openslo/") || strings.HasPrefix(version, "openslo.com/"):
		s.otherVersion(&s.openslo.sheet, n.get("apiVersion"), "openslo/v1")
	case version == "sloth.slok.dev/v1" && n.get("kind").str() == "PrometheusServiceLevel":
		s.takeSloth(n.get("spec"))
	case n.get("version").str() == "prometheus/v1" && n.get("slos") != nil:
		s.takeSloth(n)
	case strings.HasPrefix(version, "sloth.slok.dev/"):
		s.otherVersion(&s.sloth, n.get("apiVersion"), "sloth.slok.dev/v1")
	case version == "pyrra.dev/v1alpha1" && n.get("kind").str() == "ServiceLevelObjective":
		s.takePyrra(n)
	case strings.HasPrefix(version, "pyrra.dev/"):
		s.otherVersion(&s.pyrra, n.get("apiVersion"), "pyrra.dev/v1alpha1")
	}
}

func (s *specs) otherVersion(on *sheet, version *node, known string) {
	on.put(nil, Fact{Subject: "spec", Verdict: Unchecked, Got: fmt.Sprintf("version %s is not known here, %s is", version.str(), known), There: version.pos,
		Rule: ruleSpecRead, Remedy: "write it as " + known})
}

func (s *specs) add(on *sheet, n *node, id belonging) {
	s.found[on.against] = append(s.found[on.against], &spec{node: n, belonging: id})
}

// compare links all specs of a format first: whether a service's tag alone says enough depends on the others.
func (s *specs) compare() {
	for _, n := range s.openslo.objects("SLO") {
		s.add(&s.openslo.sheet, n, openSLOBelonging(n))
	}
	for _, format := range []struct {
		on      *sheet
		compare func(*spec)
	}{{&s.openslo.sheet, s.openslo.compare}, {&s.sloth, s.compareSloth}, {&s.pyrra, s.comparePyrra}} {
		found := s.found[format.on.against]
		tagged := map[string]int{}
		for _, sp := range found {
			for _, service := range sp.services {
				tagged[service]++
			}
		}
		for _, sp := range found {
			sp.alone = !slices.ContainsFunc(sp.services, func(service string) bool { return tagged[service] > 1 })
			sp.objective, _ = s.contract.link(sp.belonging)
			if sp.objective == nil {
				format.on.orphan(sp)
				continue
			}
			format.compare(sp)
		}
		format.on.missing(found)
	}
}

// orphan is a spec that no contract stands behind. One that names none of our services may be another
// program's: that is not drift.
func (s *sheet) orphan(sp *spec) {
	f := Fact{Subject: fmt.Sprintf("SLO %q", sp.name), Verdict: Orphan, Got: "of service " + strings.Join(sp.services, ", "), There: sp.pos,
		Remedy: "declare it in the sources, or delete it"}
	if len(sp.services) == 0 {
		f.Got = "of no named service"
	}
	if !s.contract.ours(sp.belonging) {
		f.Verdict, f.Got = Unchecked, "it names none of the services here"
	}
	s.put(nil, f)
}

// missing names the objectives without a spec among the services that have specs: that a tree holds one for a
// service does not promise that it holds one for each.
func (s *sheet) missing(found []*spec) {
	if len(found) == 0 {
		return
	}
	for i := range s.contract.Objectives {
		o := &s.contract.Objectives[i]
		if slices.ContainsFunc(found, func(sp *spec) bool { return sp.objective == o }) {
			continue
		}
		f := Fact{Subject: "SLO", Verdict: Unchecked, Want: o.Target.String() + " over " + slo.FormatWindow(o.Window), Got: "the service has no spec"}
		if slices.ContainsFunc(found, func(sp *spec) bool { return sp.objective != nil && sp.objective.Service == o.Service }) {
			f.Verdict, f.Got, f.Remedy = Missing, "", "write a spec for it, or generate one"
		}
		s.put(o, f)
	}
}

// compareTarget holds a target, given as a share, against the contract's.
func (s *sheet) compareTarget(o *slo.Objective, at *node, parent *node, divisor float64) {
	f := Fact{Subject: "target", Want: o.Target.String(), There: at.at(parent), Remedy: "make both say the same"}
	if share, ok := at.number(); ok {
		f.Verdict, f.Got = verdictOf(equalNumbers(share/divisor, float64(o.Target))), slo.FormatPercent(share/divisor)
	} else {
		f.Verdict, f.Got, f.Rule = Unchecked, "the target is no number", ruleSpecUnclear
	}
	s.put(o, f)
}
