package contract

import (
	"github.com/slowburn/slowburn/slo"
)

// The rules of this package, as slo.Rules explains them.
const (
	ruleSyntax        = "SB001"
	ruleMissingTarget = "SB002"
	ruleUnresolved    = "SB003"
	ruleAmbiguous     = "SB004"
	ruleWrongType     = "SB005"
	ruleTargetRange   = "SB006"
	ruleThreshold     = "SB007"
	ruleLowThreshold  = "SB008"
	ruleUnknownKey    = "SB009"
	ruleNoWindow      = "SB010"
	ruleDisagree      = "SB011"
	ruleOpenSpread    = "SB012"
	rulePassedThrough = "SB013"
	ruleIndicator     = "SB014"
	ruleNoService     = "SB015"
	ruleWindow        = "SB016"
	ruleTooLarge      = "SB020"
	ruleTooDeep       = "SB021"
	ruleUnreadable    = "SB022"
	ruleEncoding      = "SB023"
	ruleLink          = "SB024"
	ruleConfig        = "SB025"
	ruleSuppression   = "SB030"
)

func ruleOf(id string) slo.Rule {
	for _, r := range slo.Rules() {
		if r.ID == id {
			return r
		}
	}
	return slo.Rule{ID: id}
}

func severityOf(id string) slo.Severity { return ruleOf(id).Severity }
func remedyOf(id string) string         { return ruleOf(id).Remedy }

// fileFinding is a finding about a file as a whole.
func fileFinding(rule, file, message string) slo.Finding {
	return slo.Finding{Rule: rule, Severity: severityOf(rule), Pos: slo.Position{File: file}, Message: message, Remedy: remedyOf(rule)}
}
