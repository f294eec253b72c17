package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/report"
)

// inferShare is the share of a budget whose loss is taken for an incident where none is known.
const inferShare = 0.01

// detect replays the rules that are deployed beside the generated ones over the same incidents: those that were named;
// else those inferred.
func (v *verification) detect(ctx context.Context) error {
	groups, name := v.deployed.alerts()
	if v.replayed == nil || groups == nil {
		return nil
	}
	result, options := *v.replayed, v.set.past.options
	if known, _ := recallOf(&result); known == 0 {
		options.Infer = inferShare
		again, err := backtest.Run(ctx, v.objectives, v.history, options)
		if err != nil {
			return err
		}
		result = *again
	}
	if known, _ := recallOf(&result); known == 0 {
		return nil // nothing to measure by
	}
	if err := result.Against(ctx, v.history, groups, name, tenantLabelOf(v.objectives), options); err != nil {
		return err
	}
	d := &report.Detection{Rules: name, Incidents: "labelled"}
	for _, duel := range result.Comparison.Incidents {
		if duel.Infer {
			d.Incidents = "inferred"
		}
		d.Duels = append(d.Duels, report.Duel{
			Service: duel.Service, SLO: duel.SLO, Tenant: duel.Tenant, Start: duel.Start, End: duel.End,
			Old: sideOf(duel.Old), New: sideOf(duel.New),
		})
	}
	v.doc.Detection = summed(d)
	return nil
}

func sideOf(s backtest.Side) report.Side {
	return report.Side{Found: s.Detected, Delay: seconds(s.Delay), Alert: s.Alert}
}

func seconds(s *backtest.Span) *report.Seconds {
	if s == nil {
		return nil
	}
	d := report.Seconds(*s)
	return &d
}

// summed counts the duels and takes medians over the incidents of which both sides know a delay, so that a side is not
// better for having missed the hard ones.
func summed(d *report.Detection) *report.Detection {
	var before, after []report.Seconds
	for _, duel := range d.Duels {
		if duel.Old.Found {
			d.OldFound++
		}
		if duel.New.Found {
			d.NewFound++
		}
		if duel.Old.Delay != nil && duel.New.Delay != nil {
			before, after = append(before, *duel.Old.Delay), append(after, *duel.New.Delay)
			if *duel.New.Delay < *duel.Old.Delay {
				d.Faster++
			}
		}
	}
	d.Old, d.New = median(before), median(after)
	return d
}

// median is the lower one of an even number: a delay that did occur.
func median(all []report.Seconds) *report.Seconds {
	if len(all) == 0 {
		return nil
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return &sorted[(len(sorted)-1)/2]
}

// detectionCheck is how much sooner the generated rules find what both find. A ratio below zero is slower.
func (v *verification) detectionCheck() report.Check {
	d := v.doc.Detection
	switch groups, _ := v.deployed.alerts(); {
	case v.history == nil:
		return report.Check{Status: report.Skipped, Detail: "no history was given to replay the deployed rules on"}
	case groups == nil:
		return report.Check{Status: report.Skipped, Detail: "no deployed rule file was found to replay beside the generated rules"}
	case d == nil || len(d.Duels) == 0:
		return report.Check{Status: report.Skipped, Detail: "the history holds no incident that could be measured"}
	}
	detail := fmt.Sprintf("%d %s incidents: %s found %d, the generated rules %d", len(d.Duels), d.Incidents, d.Rules, d.OldFound, d.NewFound)
	c := report.Check{Status: report.Complete, Detail: detail, Before: d.Old, After: d.New}
	if d.Old == nil {
		c.Status = report.Skipped
		c.Detail += "; none was found by both, so that no time can be compared"
		return c
	}
	if *d.Old > 0 {
		ratio := 1 - float64(*d.New)/float64(*d.Old)
		c.Ratio = &ratio
	}
	c.Detail = fmt.Sprintf("median delay %s before, %s after; %s", report.Round(time.Duration(*d.Old)), report.Round(time.Duration(*d.New)), detail)
	return c
}

// alerts joins the alerts of all deployed rule files, if there are any, with the recordings that they read, at first or
// second hand: others cost time to replay and decide nothing. Where two
// files name a group alike, the second is told apart by its file.
func (d *deployment) alerts() (*rulefmt.RuleGroups, string) {
	all, alerting, name := &rulefmt.RuleGroups{}, false, ""
	read, names := d.readByAlerts(), map[string]bool{}
	for _, b := range d.books {
		for _, g := range b.groups {
			if names[g.Name] { // else it keeps its name, which decides at which moment of the minute it is evaluated
				g.Name = b.name + ";" + g.Name
			}
			names[g.Name] = true
			g.Rules = slices.DeleteFunc(slices.Clone(g.Rules), func(r rulefmt.Rule) bool { return r.Record != "" && !read[r.Record] })
			if len(g.Rules) > 0 {
				all.Groups = append(all.Groups, g)
			}
			alerting = alerting || slices.ContainsFunc(g.Rules, func(r rulefmt.Rule) bool { return r.Alert != "" })
		}
		name = cmp.Or(name, b.name)
	}
	if !alerting {
		return nil, ""
	}
	if n := len(d.books); n > 1 {
		name += " and " + report.Count(n-1, "more file")
	}
	return all, name
}

// readByAlerts lists the metrics that alerts read, and those that the recordings of these read, and so on.
func (d *deployment) readByAlerts() map[string]bool {
	read := map[string]bool{}
	p := parser.NewParser(parser.Options{})
	for before := -1; before != len(read); {
		before = len(read)
		for _, b := range d.books {
			for _, g := range b.groups {
				for _, r := range g.Rules {
					if r.Alert == "" && !read[r.Record] {
						continue
					}
					if expr, err := p.ParseExpr(r.Expr); err == nil {
						for _, sel := range selectors(expr) {
							read[sel.Name] = true
						}
					}
				}
			}
		}
	}
	return read
}
