package drift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// PrometheusAt compares what a running Prometheus has loaded with the contract: its rules, its configuration and
// flags, its targets, and the objectives that services export to it. What it does not answer is unchecked.
func PrometheusAt(ctx context.Context, c Contract, e Endpoint) Report {
	a, err := ask(e)
	where := slo.Position{File: a.name}
	if err != nil {
		r := unaskedPrometheus(c, where, err.Error())
		r.Findings = append(r.Findings, unasked(where, "it", err))
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout) // for all questions together
	defer cancel()
	r := a.rules(ctx, c)
	doc, err := a.config(ctx)
	if err != nil {
		r.Findings = append(r.Findings, unasked(where, "its configuration", err))
		doc = &document{file: a.name}
	}
	p := &prometheus{contract: c, doc: doc}
	if err == nil {
		p.evaluated()
		p.intervals()
		p.retention(a.flags(ctx))
		p.sending()
	}
	p.Report = Join(p.Report, a.targets(ctx, c))
	return Join(r, p.Report, a.objectives(ctx, c))
}

func unasked(where slo.Position, what string, err error) slo.Finding {
	return slo.Finding{Rule: ruleUnreadProm, Severity: slo.Warning, Pos: where, Message: clip(what + " is not compared: " + err.Error()), Remedy: "check the URL, and that it runs"}
}

// prometheus reads the data of an answer of Prometheus's API.
func (a asked) prometheus(ctx context.Context, path, query string, into any) error {
	var answer struct {
		Status string          `json:"status"`
		Data   json.RawMessage `json:"data"`
	}
	if err := a.json(ctx, "/api/v1/"+path, query, &answer); err != nil {
		return err
	}
	if answer.Status != "success" || answer.Data == nil {
		return errors.New("its answer has no data: it is no Prometheus")
	}
	if err := json.Unmarshal(answer.Data, into); err != nil {
		return fmt.Errorf("its answer is not the JSON that was expected: %w", err)
	}
	return nil
}

// rules reads the loaded rules as a rule set, at the place of the API.
func (a asked) rules(ctx context.Context, c Contract) Report {
	var answer struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Name     string            `json:"name"`
				Query    string            `json:"query"`
				Type     string            `json:"type"`
				Duration float64           `json:"duration"`
				Labels   map[string]string `json:"labels"`
			} `json:"rules"`
		} `json:"groups"`
	}
	where := slo.Position{File: a.name + "/api/v1/rules"}
	if err := a.prometheus(ctx, "rules", "", &answer); err != nil {
		r := unaskedPrometheus(c, where, err.Error())
		r.Findings = append(r.Findings, unasked(where, "what it has loaded", err))
		return r
	}
	set := &ruleset{}
	for _, g := range answer.Groups {
		for _, rule := range g.Rules {
			r := recording{group: g.Name, labels: rule.Labels, hold: time.Duration(rule.Duration * float64(time.Second)), pos: where}
			if rule.Type == "alerting" {
				r.alert = rule.Name
			} else {
				r.record = rule.Name
			}
			set.add(r, rule.Query)
		}
	}
	set.index()
	return set.compare(c, "prometheus", where)
}

func (a asked) config(ctx context.Context) (*document, error) {
	var answer struct {
		YAML string `json:"yaml"`
	}
	if err := a.prometheus(ctx, "status/config", "", &answer); err != nil {
		return nil, err
	}
	doc, f := parseDocument(a.name+"/api/v1/status/config", []byte(answer.YAML))
	if f != nil {
		return nil, f.err
	}
	return doc, nil
}

// intervals compares the scrape interval of the jobs that can be told to be a service's. Its targets say the rest.
func (p *prometheus) intervals() {
	global, ok := p.duration(p.at("global", "scrape_interval"), time.Minute)
	jobs := p.jobs(global, ok)
	for _, o := range p.contract.Objectives {
		for _, j := range jobs {
			if j.covers(p.service(o.Service)).verdict == Same && j.known {
				p.interval(o, j)
				break
			}
		}
	}
}

// flags reads how long samples are kept.
func (a asked) flags(ctx context.Context) kept {
	where := slo.Position{File: a.name + "/api/v1/status/flags"}
	var flags map[string]string
	if err := a.prometheus(ctx, "status/flags", "", &flags); err != nil {
		return kept{how: "its flags can't be read: " + err.Error(), pos: where}
	}
	for _, flag := range []string{"storage.tsdb.retention.time", "storage.tsdb.retention"} {
		if value := flags[flag]; value != "" && value != "0s" {
			return keptFor(value, where)
		}
	}
	if size := flags["storage.tsdb.retention.size"]; size != "" && size != "0B" {
		return kept{how: "as long as " + size + " last", pos: where}
	}
	return keptUntold(where)
}

// target is one entry of /api/v1/targets.
type target struct {
	Labels    map[string]string `json:"labels"`
	URL       string            `json:"scrapeUrl"`
	Health    string            `json:"health"`
	LastError string            `json:"lastError"`
	Job       string            `json:"scrapePool"`
}

// targets compares what is scraped, and whether it answers.
func (a asked) targets(ctx context.Context, c Contract) Report {
	var answer struct {
		Active []target `json:"activeTargets"`
	}
	where := slo.Position{File: a.name + "/api/v1/targets"}
	err := a.prometheus(ctx, "targets", "state=active", &answer)
	p := &prometheus{contract: c}
	for _, o := range c.Objectives {
		f := Fact{Subject: "target", Service: o.Service, SLO: o.Name, Want: "a target of " + o.Service + " that answers", Code: o.Source(), There: where, Rule: ruleUnscraped, Remedy: "add a job for it to scrape_configs"}
		if err != nil {
			f.Verdict, f.Got, f.Severity = Unchecked, err.Error(), slo.Warning
		} else {
			f.Verdict, f.Got = targetOf(answer.Active, p.service(o.Service))
		}
		p.add(f)
	}
	return p.Report
}

func targetOf(active []target, s Service) (Verdict, string) {
	down := ""
	for _, t := range active {
		if !hits(t.URL, s) && t.Labels["service"] != s.Name && t.Labels["job"] != s.Name {
			continue
		}
		if t.Health == "up" {
			return Same, bare(t.URL)
		}
		down = fmt.Sprintf("%s is %s: %s", bare(t.URL), t.Health, t.LastError)
	}
	if down != "" {
		return Differs, down
	}
	return Missing, ""
}

// objectives compares error_budget_objective_ratio as Prometheus has it.
func (a asked) objectives(ctx context.Context, c Contract) Report {
	var answer struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  []any             `json:"value"`
		} `json:"result"`
	}
	where := slo.Position{File: a.name + "/api/v1/query"}
	if err := a.prometheus(ctx, "query", url.Values{"query": {objectiveMetric}}.Encode(), &answer); err != nil {
		return handshakes(c, nil, where, err)
	}
	var held []heldObjective
	for _, r := range answer.Result {
		if len(r.Value) != 2 {
			continue
		}
		value, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err == nil {
			held = append(held, heldObjective{service: firstOf(r.Metric, "service", "job"), slo: r.Metric["slo"], target: value})
		}
	}
	return handshakes(c, held, where, nil)
}

func firstOf(labels map[string]string, names ...string) string {
	for _, name := range names {
		if labels[name] != "" {
			return labels[name]
		}
	}
	return ""
}
