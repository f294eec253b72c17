package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/slowburn/slowburn/slo"
)

// The parts of SARIF 2.1.0 that findings need.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations,omitempty"`
		Related   []sarifLocation `json:"relatedLocations,omitempty"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

// WriteSARIF writes findings as SARIF 2.1.0, which code hosts show beside the lines.
func WriteSARIF(w io.Writer, findings []slo.Finding, version string) error {
	run := sarifRun{
		Tool:       sarifTool{Driver: sarifDriver{Name: "slowburn", Version: version, Rules: []sarifRule{}}},
		ColumnKind: "utf16CodeUnits",
		Results:    []sarifResult{},
	}
	var ids []string
	for _, f := range findings {
		ids = append(ids, f.Rule)
		run.Results = append(run.Results, sarifOf(f))
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: id})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	log := sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
	if err := enc.Encode(log); err != nil {
		return fmt.Errorf("write SARIF: %w", err)
	}
	return nil
}

func sarifOf(f slo.Finding) sarifResult {
	text := f.Message
	if f.Remedy != "" {
		text += "; " + f.Remedy
	}
	r := sarifResult{RuleID: f.Rule, Level: f.Severity.String(), Message: sarifMessage{Text: text}}
	if f.Pos.File != "" {
		r.Locations = []sarifLocation{sarifPlace(f.Pos)}
	}
	for _, p := range f.Related {
		r.Related = append(r.Related, sarifPlace(p))
	}
	return r
}

func sarifPlace(p slo.Position) sarifLocation {
	place := sarifPhysical{Artifact: sarifArtifact{URI: p.File}}
	if p.Line > 0 {
		place.Region = &sarifRegion{StartLine: p.Line, StartColumn: p.Col}
	}
	return sarifLocation{Physical: place}
}
