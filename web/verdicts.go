package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// VerdictAnnotation is the annotation that tells of an alert's verdict, where it is not validated.
const VerdictAnnotation = "slowburn_verdict"

// Verdict is what the embedded history says of one alert: a tier of an objective, for one tenant.
type Verdict struct {
	Service string    `json:"service"`
	SLO     string    `json:"slo"`
	Tier    string    `json:"burn_tier"`
	Tenant  string    `json:"tenant"`
	Verdict string    `json:"verdict"` // validated, held or unproven
	Reasons []string  `json:"reasons,omitempty"`
	Pushed  bool      `json:"pushed"` // whether it would be sent to Alertmanager
	Judged  time.Time `json:"judged,omitzero"`
}

// String says the verdict with its reasons.
func (v Verdict) String() string {
	if len(v.Reasons) == 0 {
		return v.Verdict
	}
	return v.Verdict + ": " + strings.Join(v.Reasons, "; ")
}

// Verdicts is what a Server and an Exporter need of whoever judges alerts.
type Verdicts interface {
	// Of is the verdict on an alert, found by its labels; false for alerts that nobody judges.
	Of(label func(name string) string) (Verdict, bool)
	// All lists the verdicts, sorted.
	All() []Verdict
}

// answerVerdicts lists the verdicts.
func (s *Server) answerVerdicts(w http.ResponseWriter, _ *http.Request) {
	verdicts := []Verdict{}
	if s.opts.Verdicts != nil {
		verdicts = append(verdicts, s.opts.Verdicts.All()...)
	}
	text, err := json.Marshal(map[string]any{"status": "success", "data": map[string]any{"verdicts": verdicts}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(text) //nolint:errcheck // the client is gone
}

// annotated adds each alert's verdict to the answers of upstream's handlers for rules and alerts: the alerts
// themselves belong to the rule manager, which writes them anew at each evaluation.
func (s *Server) annotated(next http.Handler) http.Handler {
	if s.opts.Verdicts == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding")
		answer := &kept{header: w.Header(), status: http.StatusOK}
		next.ServeHTTP(answer, plain)
		body := answer.body.Bytes()
		if text, ok := s.withVerdicts(body); ok {
			body = text
		}
		w.WriteHeader(answer.status)
		w.Write(body) //nolint:errcheck // the client is gone
	})
}

// kept is an answer that is held back until it has been changed.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *kept) Header() http.Header            { return k.header }
func (k *kept) WriteHeader(status int)         { k.status = status }
func (k *kept) Write(text []byte) (int, error) { return k.body.Write(text) }

// withVerdicts is an answer with its alerts annotated; false where it has none.
func (s *Server) withVerdicts(answer []byte) (text []byte, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber()
	var document any
	if decoder.Decode(&document) != nil || s.annotate(document) == 0 {
		return nil, false
	}
	text, err := json.Marshal(document)
	return text, err == nil
}

// annotate walks a document for alerts, which are what has an activeAt, and tells how many it changed.
func (s *Server) annotate(node any) (changed int) {
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			changed += s.annotate(child)
		}
	case map[string]any:
		if _, ok := node["activeAt"]; ok {
			return s.annotateAlert(node)
		}
		for _, child := range node {
			changed += s.annotate(child)
		}
	}
	return changed
}

func (s *Server) annotateAlert(alert map[string]any) int {
	labels, _ := alert["labels"].(map[string]any)
	verdict, judged := s.opts.Verdicts.Of(func(name string) string { text, _ := labels[name].(string); return text })
	if !judged {
		return 0
	}
	annotations, ok := alert["annotations"].(map[string]any)
	if !ok {
		annotations = map[string]any{}
		alert["annotations"] = annotations
	}
	annotations[VerdictAnnotation] = verdict.String()
	return 1
}
