// Package rulegen turns SLO objectives into Prometheus rule groups, their promtool tests and the other
// formats users load. It does not evaluate rules, nor look for objectives.
package rulegen

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

// Names of what the generated rules record and raise.
const (
	BurnRateMetric  = "error_budget:burn_rate:"      // + window; 1 means: on budget
	FailuresMetric  = "error_budget:failures:"       // + long window; failed events in it
	RemainingMetric = "error_budget:remaining:ratio" // 1 full, 0 spent, below 0 overspent
	AlertName       = "ErrorBudgetBurn"

	stepErrorsMetric = "error_budget:errors:increase"
	stepEventsMetric = "error_budget:events:increase"
)

// Options adjusts what Compile writes. The zero value works.
type Options struct {
	ServiceLabel string        // the label that carries the service on its series; default "service", "-" adds none
	Interval     time.Duration // evaluation interval of the groups; zero leaves it to the server
}

func (o Options) serviceLabel() string {
	switch o.ServiceLabel {
	case "":
		return "service"
	case "-":
		return ""
	}
	return o.ServiceLabel
}

// Compile writes two groups per objective. The first, named service/slo, records burn rates and then
// alerts, so that an alert reads the recordings of its own tick. The second, service/slo/budget, runs at
// the policy's shortest window and keeps the event-weighted budget over the whole SLO period.
// The objectives must have their indicators and tenant labels settled, see Resolve.
func Compile(objectives []slo.Objective, o Options) (*rulefmt.RuleGroups, error) {
	groups := &rulefmt.RuleGroups{}
	var faults []error
	for _, objective := range objectives {
		c, err := newCompiler(objective, o)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: objective %s: %w", objective.Source(), objective.ID(), err))
			continue
		}
		burn, budget := c.burnGroup(), c.budgetGroup()
		if err := parseBack(burn, budget); err != nil {
			faults = append(faults, fmt.Errorf("%s: objective %s: %w", objective.Source(), objective.ID(), err))
			continue
		}
		groups.Groups = append(groups.Groups, burn, budget)
	}
	return groups, errors.Join(faults...)
}

// compiler holds what all rules of one objective share.
type compiler struct {
	slo.Objective
	events events
	labels map[string]string // on every rule: service, slo
	opts   Options
}

func newCompiler(o slo.Objective, opts Options) (*compiler, error) {
	if o.Service == "" || o.Name == "" {
		return nil, errors.New("has no service or no name")
	}
	if _, err := slo.NewTarget(float64(o.Target)); err != nil {
		return nil, err
	}
	if len(o.Policy.Tiers) == 0 {
		o.Policy = slo.DefaultPolicy()
	}
	if o.Window == 0 {
		o.Window = slo.DefaultWindow
	}
	ev, err := newEvents(o, opts)
	if err != nil {
		return nil, err
	}
	return &compiler{Objective: o, events: ev, opts: opts, labels: map[string]string{"service": o.Service, "slo": o.Name}}, nil
}

func (c *compiler) burnGroup() rulefmt.RuleGroup {
	g := rulefmt.RuleGroup{Name: c.ID(), Interval: model.Duration(c.opts.Interval)}
	for _, w := range c.windows() {
		g.Rules = append(g.Rules, c.record(BurnRateMetric+slo.FormatWindow(w), c.events.burnRate(w, c.Target.Budget())))
	}
	for _, w := range c.guardedWindows() {
		g.Rules = append(g.Rules, c.record(FailuresMetric+slo.FormatWindow(w), c.events.failures(w)))
	}
	for _, t := range c.Policy.Tiers {
		g.Rules = append(g.Rules, c.alert(t))
	}
	return g
}

// budgetGroup sums the failed and all events of contiguous windows of one step, and from them the budget
// left: a sum of errors over a sum of events, never an average of ratios. The step is the group's interval,
// so that each event is counted once.
func (c *compiler) budgetGroup() rulefmt.RuleGroup {
	step := c.windows()[0]
	suffix := slo.FormatWindow(step)
	errs, events := c.recorded(stepErrorsMetric+suffix), c.recorded(stepEventsMetric+suffix)
	spent := binary(parser.DIV,
		paren(binary(parser.DIV, sumOverTime(errs, c.Window), paren(binary(parser.GTR, sumOverTime(events, c.Window), number(0))))),
		number(c.Target.Budget()))
	return rulefmt.RuleGroup{
		Name:     c.ID() + "/budget",
		Interval: model.Duration(step),
		Rules: []rulefmt.Rule{
			c.record(stepErrorsMetric+suffix, c.events.failures(step)),
			c.record(stepEventsMetric+suffix, c.events.count(step)),
			c.record(RemainingMetric, binary(parser.SUB, number(1), spent)),
		},
	}
}

// windows lists what to record: all windows that the tiers read, and those the contract asks for besides.
func (c *compiler) windows() []time.Duration {
	return sortedUnique(append(c.Policy.Windows(), c.Record...))
}

// guardedWindows lists the long windows whose failed events guard a tier.
func (c *compiler) guardedWindows() []time.Duration {
	if c.MinFailures <= 0 {
		return nil
	}
	var long []time.Duration
	for _, t := range c.Policy.Tiers {
		long = append(long, t.Long)
	}
	return sortedUnique(long)
}

func (c *compiler) record(name string, expr parser.Expr) rulefmt.Rule {
	return rulefmt.Rule{Record: name, Expr: render(expr), Labels: c.labels}
}

// parseBack reads every expression as Prometheus will, so that what is written always loads.
func parseBack(groups ...rulefmt.RuleGroup) error {
	text, err := yaml.Marshal(rulefmt.RuleGroups{Groups: groups})
	if err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	_, faults := rulefmt.Parse(text, false, model.UTF8Validation, promqlParser(), slog.New(slog.DiscardHandler))
	return errors.Join(faults...)
}

func promqlParser() parser.Parser { return parser.NewParser(parser.Options{}) }
