package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"time"
)

// The parts of JUnit's XML that CI servers read.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Name    string       `xml:"name,attr"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Time      string      `xml:"time,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    int           `xml:"line,attr,omitempty"`
		Time    string        `xml:"time,attr,omitempty"`
		Failure *junitOutcome `xml:"failure"`
		Error   *junitOutcome `xml:"error"`
		Skipped *junitOutcome `xml:"skipped"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitOutcome struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes a verification as JUnit XML: a test case for each phase, check, alert that is to be proved, and
// finding. A finding fails its case where it is at or above the severity that the document was judged by.
func WriteJUnit(w io.Writer, d *Document) error {
	all := junitSuites{Name: "slowburn verify"}
	all.add(d, "phases", phaseCases(d))
	all.add(d, "checks", checkCases(d))
	all.add(d, "alerts", proofCases(d))
	all.add(d, "findings", findingCases(d))
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *junitSuites) add(d *Document, name string, cases []junitCase) {
	suite := junitSuite{Name: name, Tests: len(cases), Cases: cases, Timestamp: d.Timestamp.Format("2006-01-02T15:04:05")}
	var took Seconds
	if name == "phases" {
		for _, p := range d.Phases.List() {
			took += p.Duration
		}
	}
	suite.Time = took.text()
	for k := range cases {
		cases[k].Class = "slowburn." + name
		switch {
		case cases[k].Failure != nil:
			suite.Failures++
		case cases[k].Error != nil:
			suite.Errors++
		case cases[k].Skipped != nil:
			suite.Skipped++
		}
	}
	s.Suites = append(s.Suites, suite)
}

func (s Seconds) text() string { return fmt.Sprintf("%.6f", time.Duration(s).Seconds()) }

func phaseCases(d *Document) []junitCase {
	var all []junitCase
	for _, p := range d.Phases.List() {
		c := junitCase{Name: p.Name, Time: p.Duration.text(), Output: Printable(p.Detail)}
		switch p.Status {
		case Failed:
			c.Error = &junitOutcome{Message: Printable(p.Detail)}
		case Skipped:
			c.Skipped = &junitOutcome{Message: Printable(p.Detail)}
		case Complete:
		}
		all = append(all, c)
	}
	return all
}

func checkCases(d *Document) []junitCase {
	var all []junitCase
	for _, c := range d.Validation.List() {
		one := junitCase{Name: c.Name, Output: Printable(c.value() + " " + c.Detail)}
		if c.Status == Skipped {
			one.Skipped = &junitOutcome{Message: Printable(c.Detail)}
		}
		all = append(all, one)
	}
	return all
}

func proofCases(d *Document) []junitCase {
	var all []junitCase
	for _, p := range d.Proofs {
		c := junitCase{Name: Printable(p.Rules + ": " + p.of() + " can fire"), Output: p.times()}
		switch p.Fires {
		case No:
			c.Failure = &junitOutcome{Message: Printable(fmt.Sprint(p.Faults))}
		case Untried:
			c.Skipped = &junitOutcome{Message: "no outage was tried"}
		case Yes:
		}
		all = append(all, c)
	}
	return all
}

func findingCases(d *Document) []junitCase {
	var all []junitCase
	for _, f := range d.Findings {
		c := junitCase{Name: Printable(f.Rule + ": " + f.Message), File: Printable(f.Pos.File), Line: f.Pos.Line}
		out := &junitOutcome{Message: Printable(f.Message), Type: f.Rule, Text: Printable(f.String())}
		if f.Severity <= d.FailOn {
			c.Failure = out
		} else {
			c.Output = out.Text
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		all = append(all, junitCase{Name: "nothing was found"})
	}
	return all
}
