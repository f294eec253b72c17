package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/rules"

	"github.com/slowburn/slowburn/report"
	"github.com/slowburn/slowburn/rulegen"
)

// story follows one live demonstration from its first scrape to the last resolved alert.
type story struct {
	*demo
	live  *watch
	shop  *playedShop
	began time.Time

	incident, firing time.Time // when each began; zero before
	over             bool      // the incident has been ended
	shown            time.Time // when burn rates were last shown
	states           map[string]rules.AlertState
	names            map[string]string
}

// tell narrates until every alert has resolved, or says what is missing when time is up.
func (d *demo) tell(ctx context.Context, live *watch, shop *playedShop) error {
	s := &story{demo: d, live: live, shop: shop, began: time.Now(), states: map[string]rules.AlertState{}, names: map[string]string{}}
	d.say.line("Prometheus API and metrics: http://%s", live.server.Addr())
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.New("interrupted before the story's end")
		case now := <-tick.C:
			if s.step(now) {
				s.end()
				return nil
			}
			if now.Sub(s.began) > demoLimit {
				return fmt.Errorf("the story did not end within %s: see http://%s/api/v1/alerts with --keep", demoLimit, live.server.Addr())
			}
		}
	}
}

// step looks once and moves the story on; true means that it is told.
func (s *story) step(now time.Time) bool {
	burning := s.burnRates()
	switch {
	case s.incident.IsZero():
		if len(burning) < len(playedTenants) || now.Sub(s.began) < demoCalm {
			return false
		}
		s.say.chapter("burn rates", "1 spends the budget exactly over its period; all is well")
		s.show(now, burning)
		s.say.chapter("incident", "from now on 8% of acme's searches fail")
		s.incident = now
		s.shop.incident.Store(true)
	case !s.over && !s.firing.IsZero() && now.Sub(s.incident) > demoIncident:
		s.say.chapter("recovery", "acme's searches work again")
		s.over = true
		s.shop.incident.Store(false)
	case now.Sub(s.shown) > 5*time.Second:
		s.show(now, burning)
	}
	s.follow(now)
	return s.over && len(s.states) == 0
}

// reading is what the exporter tells of search for one tenant.
type reading struct {
	windows map[string]float64
	left    float64
}

// burnRates gives search's numbers by tenant, from the same metrics that /metrics serves.
func (s *story) burnRates() map[string]reading {
	families, err := prometheus.Gatherers{s.live.registry}.Gather()
	if err != nil {
		s.log.Warn("Gather metrics", "err", err)
	}
	found := map[string]reading{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			label := labelsOf(m)
			if label["service"] != "search" {
				continue
			}
			r := found[label["tenant"]]
			switch f.GetName() {
			case "slowburn_burn_rate":
				if r.windows == nil {
					r.windows = map[string]float64{}
				}
				r.windows[label["window"]] = m.GetGauge().GetValue()
			case "slowburn_error_budget_remaining_ratio":
				r.left = m.GetGauge().GetValue()
			default:
				continue
			}
			found[label["tenant"]] = r
		}
	}
	maps.DeleteFunc(found, func(_ string, r reading) bool { return len(r.windows) == 0 })
	return found
}

func labelsOf(m *dto.Metric) map[string]string {
	all := map[string]string{}
	for _, l := range m.GetLabel() {
		all[l.GetName()] = l.GetValue()
	}
	return all
}

func (s *story) show(now time.Time, burning map[string]reading) {
	s.shown = now
	var line strings.Builder
	line.WriteString(s.clock(now) + "search burns")
	for _, tenant := range slices.Sorted(maps.Keys(burning)) {
		r := burning[tenant]
		style := report.Green
		if r.windows["5s"] > 1 {
			style = report.Red
		}
		line.WriteString("  " + s.say.text.Paint(fmt.Sprintf("%s %.1fx over 5s, %.1fx over 1m", tenant, r.windows["5s"], r.windows["1m"]), style))
	}
	s.say.line("%s", line.String())
}

// follow says what changed among the alerts.
func (s *story) follow(now time.Time) {
	seen := map[string]bool{}
	for _, rule := range s.live.eval.AlertingRules() {
		for _, a := range rule.ActiveAlerts() {
			if rule.Name() != rulegen.AlertName || a.State != rules.StatePending && a.State != rules.StateFiring {
				continue
			}
			key := a.Labels.String()
			seen[key] = true
			if s.states[key] == a.State {
				continue
			}
			s.states[key] = a.State
			s.names[key] = fmt.Sprintf("%s %s, %s tier", a.Labels.Get("service"), a.Labels.Get("tenant"), a.Labels.Get("burn_tier"))
			if a.State == rules.StatePending {
				s.say.line("%s%s %s", s.clock(now), s.say.text.Paint("pending ", report.Yellow), s.names[key])
				continue
			}
			s.firing = now
			s.say.line("%s%s %s (%s)\n         %s", s.clock(now), s.say.text.Paint("FIRING  ", report.Red), s.names[key], a.Labels.Get("severity"), a.Annotations.Get("summary"))
		}
	}
	for key := range s.states {
		if !seen[key] {
			s.say.line("%s%s %s", s.clock(now), s.say.text.Paint("resolved", report.Green), s.names[key])
			delete(s.states, key)
		}
	}
}

func (s *story) clock(now time.Time) string {
	return s.say.text.Paint(fmt.Sprintf("%6.1fs  ", now.Sub(s.began).Seconds()), report.Dim)
}

// end says where to look.
func (s *story) end() {
	address := "http://" + s.live.server.Addr()
	s.say.chapter("where to look", "while it runs")
	for _, row := range [][2]string{
		{"/", "status page"}, {"/metrics", "objectives, burn rates, budgets, slowburn's own health"},
		{"/api/v1/rules", "rules, as Prometheus has them"}, {"/api/v1/query?query=error_budget:burn_rate:1m", "PromQL"},
	} {
		s.say.line("%-70s %s", address+row[0], row[1])
	}
}
