package topology

import (
	"strings"
	"unicode"

	"github.com/slowburn/slowburn/slo"
)

// The rules of this package; docs/findings.md explains them.
const (
	ruleNoFile     = "SB040" // no Compose file in the directory
	ruleUnreadable = "SB041" // a file that is named can't be read
	ruleYAML       = "SB042" // YAML that can't be accepted
	ruleOutside    = "SB043" // a reference that leaves the directory
	ruleRequired   = "SB044" // a required variable is missing, or a malformed ${…}
	ruleUnset      = "SB045" // a variable is not set and reads as empty
	ruleCompose    = "SB046" // Compose refuses the file
	ruleDockerfile = "SB047" // a Dockerfile that is missing or malformed
	ruleBase       = "SB048" // the base image can't be told
	ruleTarget     = "SB049" // the scrape target can't be told
	ruleLabel      = "SB050" // a label's value can't be used
	ruleProfile    = "SB051" // a service is left out, its profile is not active
	ruleShared     = "SB052" // several services share a source directory
	ruleRuntime    = "SB053" // a file that names the runtime's version can't be used
	ruleEngine     = "SB054" // the Docker engine can't be asked
	ruleNotRunning = "SB055" // declared, not running
	ruleUndeclared = "SB056" // running, not declared
	ruleImage      = "SB057" // running another image than declared
)

// report adds a finding. What it says comes from files: it is cut to one line without control characters.
func (s *scan) report(f slo.Finding) {
	f.Message, f.Remedy = oneLine(f.Message), oneLine(f.Remedy)
	s.findings = append(s.findings, f)
}

// faulty reports whether a finding stands that leaves the topology unknown.
func (s *scan) faulty() bool {
	for _, f := range s.findings {
		if f.Severity == slo.Error {
			return true
		}
	}
	return false
}

// snippets gives each finding the line it speaks of.
func snippets(s *scan) []slo.Finding {
	all := []slo.Finding{}
	lines := map[string][]string{}
	for _, f := range s.findings {
		d := s.docs[f.Pos.File]
		if d != nil && f.Pos.Line > 0 {
			if lines[d.file] == nil {
				lines[d.file] = strings.Split(string(d.text), "\n")
			}
			if f.Pos.Line <= len(lines[d.file]) {
				f.Snippet = clip(strings.TrimRight(lines[d.file][f.Pos.Line-1], "\r"))
			}
		}
		all = append(all, f)
	}
	return all
}

const maxLine = 400

func clip(line string) string {
	runes := []rune(line)
	if len(runes) > maxLine {
		return string(runes[:maxLine])
	}
	return line
}

// oneLine makes text from files and upstream errors fit for one line on a terminal.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsControl(r) || r == unicode.ReplacementChar:
			return '?'
		}
		return r
	}, text)
	return clip(strings.Join(strings.Fields(text), " "))
}
