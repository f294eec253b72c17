package contract

import (
	"slices"
	"strings"

	"github.com/slowburn/slowburn/slo"
)

// ignoreWord begins a suppression: // slowburn-ignore SB012: reason
const ignoreWord = "slowburn-ignore"

// suppression silences some rules on its own line and the next.
type suppression struct {
	pos   slo.Position
	rules []string
}

// suppress reads one suppression. It needs rule ids that exist, and a reason behind a colon.
func (f *finder) suppress(at int, comment span) {
	body := f.src.text[at+len(ignoreWord) : comment.end]
	body = strings.TrimSuffix(body[:lineEnd(body)], "*/")
	ids, reason, _ := strings.Cut(body, ":")
	s := suppression{pos: f.src.position(at)}
	for _, id := range strings.FieldsFunc(ids, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if !slices.ContainsFunc(slo.Rules(), func(r slo.Rule) bool { return r.ID == id }) {
			f.suppressionFault(s.pos, "the suppression names "+id+", which is no rule")
			continue
		}
		s.rules = append(s.rules, id)
	}
	switch {
	case strings.TrimSpace(ids) == "":
		f.suppressionFault(s.pos, "the suppression names no rule")
	case strings.TrimSpace(reason) == "":
		f.suppressionFault(s.pos, "the suppression gives no reason")
	default:
		f.suppressions = append(f.suppressions, s)
	}
}

func (f *finder) suppressionFault(pos slo.Position, message string) {
	f.scan.tree.report(slo.Finding{Rule: ruleSuppression, Severity: severityOf(ruleSuppression), Pos: pos, Message: message,
		Remedy: remedyOf(ruleSuppression), Snippet: f.src.snippet(pos.Line)})
}

// Suppressed reports whether a comment beside the code silences a finding. Findings of other packages that
// stand on a place in the sources may ask, too.
func (r *Result) Suppressed(f slo.Finding) bool {
	for _, s := range r.suppressions {
		if s.pos.File == f.Pos.File && (s.pos.Line == f.Pos.Line || s.pos.Line+1 == f.Pos.Line) && slices.Contains(s.rules, f.Rule) {
			return f.Rule != ruleSuppression
		}
	}
	return false
}

func (r *Result) unsuppressed(findings []slo.Finding) []slo.Finding {
	kept := []slo.Finding{}
	for _, f := range findings {
		if !r.Suppressed(f) {
			kept = append(kept, f)
		}
	}
	slo.SortFindings(kept)
	return kept
}
