package main

import (
	"context"
	"fmt"
	"time"

	"github.com/slowburn/slowburn/backtest"
	"github.com/slowburn/slowburn/fixtures"
	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/slo"
)

// month tells what the thresholds would have done over a month that the shop has behind it, before they watch anything.
func (d *demo) month(ctx context.Context, sources string) error {
	w, err := readWorkspace(ctx, sources, readSettings{policy: slo.DefaultPolicy().Name, windowScale: 1, serviceLabel: "service", logger: d.log})
	if err != nil {
		return err
	}
	month := fixtures.ShopMonth(d.seed, 30)
	began := time.Now()
	result, err := backtest.Run(ctx, w.objectives, memoryOf(month), backtest.Options{Incidents: incidentsOf(month), Logger: d.log})
	if err != nil {
		return fmt.Errorf("back-test the shop: %w", err)
	}
	d.say.chapter("history", fmt.Sprintf("the same rules over %d recorded days, replayed in %s: would they have paged, and for what?",
		int(month.End.Sub(month.Start).Hours()/24), report.Round(time.Since(began))))
	p := backtestPage{Text: d.say.text}
	p.sentences(result)
	p.table("Incidents", incidentHeader, incidentRows(result))
	d.say.line("%s: all this is what slowburn backtest --history DIR says of your own.", p.verdict(result))
	return nil
}

func memoryOf(m fixtures.Month) backtest.Memory {
	var all []backtest.Samples
	for _, s := range m.Series {
		all = append(all, backtest.Samples{Labels: s.Labels, Times: s.Times, Values: s.Values})
	}
	return backtest.NewMemory(all)
}

func incidentsOf(m fixtures.Month) []backtest.Incident {
	var all []backtest.Incident
	for _, i := range m.Incidents {
		all = append(all, backtest.Incident{Service: i.Service, Tenant: i.Tenant, Start: i.Start, End: i.End})
	}
	return all
}
