package web

import (
	"bytes"
	"html/template"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/prometheus/rules"
)

// statusPage is what a person sees first. It runs no script; all names are escaped by the template.
var statusPage = template.Must(template.New("status").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>slowburn</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/style.css"></head>
<body><h1>slowburn</h1>
<p class="{{if .Unready}}bad{{else}}good{{end}}">{{if .Unready}}Not ready: {{.Unready}}{{else}}Ready{{end}}, version {{.Version}}, up {{.Uptime}}.</p>
<h2>Alerts</h2>
{{if .Alerts}}<table><tr><th>state</th><th>alert</th><th>labels</th><th>since</th><th>what</th><th>verdict</th></tr>
{{range .Alerts}}<tr><td class="{{.State}}">{{.State}}</td><td>{{.Name}}</td><td><code>{{.Labels}}</code></td><td>{{.Since}}</td><td>{{.Summary}}</td><td>{{.Verdict}}</td></tr>
{{end}}</table>{{else}}<p>No alert is pending or firing.</p>{{end}}
{{if .Held}}<h2>Held back</h2>
<p>History says that these alerts would page for nothing. They are evaluated and shown, but not sent.</p>
<table><tr><th>SLO</th><th>tier</th><th>tenant</th><th>verdict</th></tr>
{{range .Held}}<tr><td>{{.Service}}/{{.SLO}}</td><td>{{.Tier}}</td><td>{{.Tenant}}</td><td>{{.String}}</td></tr>
{{end}}</table>
{{end}}<h2>Targets</h2>
<table><tr><th>state</th><th>job</th><th>target</th><th>last scrape</th><th>reason</th></tr>
{{range .Targets}}<tr><td class="{{.Health}}">{{.Health}}</td><td>{{.Job}}</td><td>{{.URL}}</td><td>{{.Last}}</td><td>{{.Error}}</td></tr>
{{end}}</table>
<h2>Where to look</h2>
<ul><li><a href="/metrics">/metrics</a>: objectives, burn rates, budgets, and slowburn's own health</li>
<li><a href="/api/v1/rules">/api/v1/rules</a> and <a href="/api/v1/alerts">/api/v1/alerts</a>: as Prometheus has them</li>
<li><a href="/api/v1/slowburn/verdicts">/api/v1/slowburn/verdicts</a>: what history says of each alert</li>
<li><a href="/api/v1/targets">/api/v1/targets</a>: what is scraped, and why not</li></ul>
</body></html>
`))

const styleSheet = `body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1c1c1c;background:#fff}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
code{font-size:.9em}.good,.up{color:#166534}.bad,.down,.firing{color:#b91c1c;font-weight:600}.pending,.unknown{color:#b45309}
@media (prefers-color-scheme:dark){body{color:#e5e5e5;background:#171717}th,td{border-color:#404040}a{color:#93c5fd}.good,.up{color:#4ade80}.bad,.down,.firing{color:#f87171}}
`

type statusAlert struct {
	State, Name, Labels, Since, Summary, Verdict string
}

type statusTarget struct {
	Health, Job, URL, Last, Error string
}

// status answers the front page.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	now := s.opts.Now()
	page := struct {
		Unready, Version, Uptime string
		Alerts                   []statusAlert
		Targets                  []statusTarget
		Held                     []Verdict
	}{Version: s.opts.Version, Uptime: now.Sub(s.opts.Started).Round(time.Second).String(), Alerts: s.alerts(now), Targets: s.targets(now), Held: s.held()}
	if err := s.unready(); err != nil {
		page.Unready = err.Error()
	}
	var text bytes.Buffer
	if err := statusPage.Execute(&text, page); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(text.Bytes()) //nolint:errcheck // the client is gone
}

func styles(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Write([]byte(styleSheet)) //nolint:errcheck // the client is gone
}

func (s *Server) alerts(now time.Time) []statusAlert {
	var rows []statusAlert
	for _, rule := range s.opts.Rules.AlertingRules() {
		for _, a := range rule.ActiveAlerts() {
			if a.State != rules.StatePending && a.State != rules.StateFiring {
				continue
			}
			row := statusAlert{
				State: a.State.String(), Name: rule.Name(), Labels: a.Labels.String(),
				Since: now.Sub(a.ActiveAt).Round(time.Second).String(), Summary: a.Annotations.Get("summary"),
			}
			if s.opts.Verdicts != nil {
				if v, judged := s.opts.Verdicts.Of(a.Labels.Get); judged {
					row.Verdict = v.String()
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// held lists the alerts that are not sent.
func (s *Server) held() []Verdict {
	if s.opts.Verdicts == nil {
		return nil
	}
	return slices.DeleteFunc(s.opts.Verdicts.All(), func(v Verdict) bool { return v.Pushed })
}

func (s *Server) targets(now time.Time) []statusTarget {
	active := s.opts.Targets.TargetsActive()
	var rows []statusTarget
	for _, job := range sortedKeys(active) {
		for _, t := range active[job] {
			row := statusTarget{Health: string(t.Health()), Job: job, URL: t.URL().Redacted(), Last: "never"}
			if last := t.LastScrape(); !last.IsZero() {
				row.Last = now.Sub(last).Round(time.Second).String() + " ago"
			}
			if err := t.LastError(); err != nil {
				row.Error = err.Error()
			}
			rows = append(rows, row)
		}
	}
	return rows
}
