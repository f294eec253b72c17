package drift

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/slowburn/slowburn/slo"
)

// What the npm package instrument exports.
const (
	objectiveMetric = "error_budget_objective_ratio"
	instrumentName  = "error_budget_events_total"
)

// Compose compares the services with the contracts: a service without any, which is a gap and no drift, and a
// contract whose service Compose does not have.
func Compose(c Contract) Report {
	var r Report
	if len(c.Services) == 0 {
		return r
	}
	for _, s := range c.Services {
		if !slices.ContainsFunc(c.Objectives, func(o slo.Objective) bool { return o.Service == s.Name }) {
			r.Findings = append(r.Findings, slo.Finding{
				Rule: ruleUncontracted, Severity: slo.Warning, Pos: s.Pos, Message: "service " + s.Name + " has no SLO: nobody is told when it fails",
				Remedy: "declare an SLO in its sources",
			})
		}
	}
	seen := map[string]bool{}
	for _, o := range c.Objectives {
		if seen[o.Service] {
			continue
		}
		seen[o.Service] = true
		f := Fact{Against: "compose", Subject: "service", Service: o.Service, Want: "a service " + o.Service, Verdict: Missing, Code: o.Source(), Rule: ruleServiceless, Severity: slo.Warning, Remedy: "correct the service's name, or declare it in the Compose file"}
		if i := slices.IndexFunc(c.Services, func(s Service) bool { return s.Name == o.Service }); i >= 0 {
			f.Verdict, f.Got, f.There = Same, c.Services[i].Name, c.Services[i].Pos
		}
		r.Facts = append(r.Facts, f)
	}
	return r
}

// Exporters asks the metrics of every service that has a contract, and compares the objective that the running code
// holds with the contract. A target is a URL, or a host and port with /metrics behind them; the first that answers
// speaks for its service. A nil client waits ten seconds.
func Exporters(ctx context.Context, c Contract, client *http.Client) Report {
	var all Report
	for _, s := range c.Services {
		if slices.ContainsFunc(c.Objectives, func(o slo.Objective) bool { return o.Service == s.Name }) {
			all = Join(all, exporter(ctx, c.of(s), s, client))
		}
	}
	return all
}

// of is the contract of one service.
func (c Contract) of(s Service) Contract {
	c.Objectives = slices.DeleteFunc(slices.Clone(c.Objectives), func(o slo.Objective) bool { return o.Service != s.Name })
	return c
}

func exporter(ctx context.Context, c Contract, s Service, client *http.Client) Report {
	f := Fact{Against: "runtime", Subject: "metrics", Service: s.Name, Verdict: Differs, Want: "an answer", Code: c.Objectives[0].Source(), There: s.Pos, Rule: ruleRuntime, Remedy: "start the service, or correct its port and path"}
	errs := []error{}
	for _, address := range s.Targets {
		text, where, err := scrape(ctx, address, client)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
			continue
		}
		f.Verdict, f.Got, f.There = Same, "an answer", slo.Position{File: where}
		held, err := parseObjectives(s.Name, text)
		return Join(Report{Facts: []Fact{f}}, handshakes(c, held, f.There, err))
	}
	if len(s.Targets) == 0 {
		f.Verdict, f.Severity, f.Got = Unchecked, slo.Note, "no target of it is known"
	} else {
		f.Got = clip("no answer: " + errors.Join(errs...).Error())
	}
	return Join(Report{Facts: []Fact{f}}, handshakes(c, nil, f.There, errors.New(f.Got)))
}

func scrape(ctx context.Context, address string, client *http.Client) (text []byte, where string, err error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	path := ""
	if rest := address[strings.Index(address, "://")+3:]; !strings.Contains(rest, "/") {
		path = "/metrics"
	}
	a, err := ask(Endpoint{URL: address, Client: client})
	if err != nil {
		return nil, a.name, err
	}
	text, err = a.get(ctx, path, a.base.RawQuery)
	return text, a.name + path, err
}

// heldObjective is the target that a running service holds.
type heldObjective struct {
	service, slo string
	target       float64
}

// parseObjectives reads the objectives out of a service's metrics. One of no name tells that the library is in use.
func parseObjectives(service string, text []byte) ([]heldObjective, error) {
	p := textparse.NewPromParser(text, labels.NewSymbolTable(), false)
	var all []heldObjective
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("its metrics can't be read: %w", err)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var l labels.Labels
		p.Labels(&l)
		_, _, value := p.Series()
		if l.Get(labels.MetricName) == objectiveMetric {
			all = append(all, heldObjective{service: service, slo: l.Get("slo"), target: value})
		}
	}
	if len(all) == 0 && bytes.Contains(text, []byte(instrumentName)) {
		all = append(all, heldObjective{service: service})
	}
	return all, nil
}

// handshakes compares the held objectives with the contract. What is not there is missing only where the library that
// exports it is in use.
func handshakes(c Contract, held []heldObjective, where slo.Position, err error) Report {
	var r Report
	for _, o := range c.Objectives {
		f := Fact{
			Against: "runtime", Subject: "objective of the running code", Service: o.Service, SLO: o.Name, Want: o.Target.String(), Code: o.Source(), There: where,
			Rule: ruleRuntime, Remedy: "deploy what the sources say",
		}
		inUse := instrumented(o)
		if err != nil {
			f.Verdict, f.Severity, f.Got = Unchecked, slo.Warning, clip(err.Error())
			if inUse {
				r.Facts = append(r.Facts, f)
			}
			continue
		}
		found := false
		for _, h := range held {
			mine := h.service == o.Service || h.service == ""
			inUse = inUse || h.service == o.Service
			if !mine || h.slo != o.Name || found && equalNumbers(h.target, float64(o.Target)) {
				continue
			}
			found = true
			f.Verdict, f.Got = verdictOf(equalNumbers(h.target, float64(o.Target))), slo.FormatPercent(h.target)
		}
		if !found && inUse {
			f.Verdict = Missing
		}
		if found || inUse {
			r.Facts = append(r.Facts, f)
		}
	}
	return r
}

// instrumented reports an objective that counts by our own library.
func instrumented(o slo.Objective) bool {
	switch i := o.Indicator.(type) {
	case slo.Availability:
		return strings.HasPrefix(i.Total, instrumentName)
	case slo.Unnamed:
		return i.Instrument
	}
	return false
}
