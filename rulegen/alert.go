package rulegen

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/slo"
)

// alert is one tier: one rule each, so that one incident can be inhibited down to one page.
func (c *compiler) alert(t slo.Tier) rulefmt.Rule {
	expr := binary(parser.LAND, c.burns(t.Long, t.Factor), c.burns(t.Short, t.Factor))
	if c.MinFailures > 0 {
		failures := c.recorded(FailuresMetric + slo.FormatWindow(t.Long))
		expr = binary(parser.LAND, expr, binary(parser.GTE, failures.vector(), number(float64(c.MinFailures))))
	}
	lbls := maps.Clone(c.labels)
	lbls["severity"] = t.Severity
	lbls["burn_tier"] = t.Name
	return rulefmt.Rule{
		Alert:       AlertName,
		Expr:        render(expr),
		For:         model.Duration(t.For),
		Labels:      lbls,
		Annotations: c.annotations(t),
	}
}

func (c *compiler) burns(w time.Duration, factor float64) parser.Expr {
	return binary(parser.GTR, c.recorded(BurnRateMetric+slo.FormatWindow(w)).vector(), number(factor))
}

// recorded selects this objective's own series of a recording.
func (c *compiler) recorded(metric string) selector {
	return selector{metric: metric, matchers: []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, "service", c.Service),
		labels.MustNewMatcher(labels.MatchEqual, "slo", c.Name),
	}}
}

// annotations say in one plain sentence who is hit, what is spent and how long the rest lasts.
// Numbers that change live here and never in labels, which are the alert's identity.
func (c *compiler) annotations(t slo.Tier) map[string]string {
	long := slo.FormatWindow(t.Long)
	period := slo.FormatWindow(c.Window)
	summary := fmt.Sprintf("%s %s%s burns its error budget {{ $value | printf \"%%.1f\" }} times too fast: %s of the %s budget went in the last %s%s.",
		literal(c.Service), literal(c.Name), c.whose(), c.spent(t), period, long, c.lasts(t))
	description := fmt.Sprintf("Objective %s over %s, budget %s. This tier (%s) fires while more than %s of events fail over both %s and %s, a burn rate above %s.",
		c.Target, period, slo.FormatPercent(c.Target.Budget()), t.Name,
		slo.FormatPercent(c.Target.ErrorRatio(t.Factor)), long, slo.FormatWindow(t.Short), slo.FormatNumber(t.Factor))
	notes := map[string]string{
		"summary":     summary,
		"description": description,
		"slo_source":  literal(slo.Position{File: c.Source().File, Line: c.Source().Line}.String()),
	}
	if c.RunbookURL != "" {
		notes["runbook_url"] = literal(c.RunbookURL)
	}
	return notes
}

func (c *compiler) whose() string {
	if c.Tenant.Label == "" {
		return ""
	}
	return fmt.Sprintf(" for tenant {{ %s }}", c.tenantReference())
}

// tenantReference names the alert's tenant in a template, whatever the label is called.
func (c *compiler) tenantReference() string {
	if model.LegacyValidation.IsValidLabelName(c.Tenant.Label) {
		return "$labels." + c.Tenant.Label
	}
	return fmt.Sprintf("(index $labels %q)", c.Tenant.Label)
}

// spent is the share of the period's budget that the long window cost: burn rate × window / period.
func (c *compiler) spent(t slo.Tier) string {
	share := slo.BudgetSpent(1, t.Long, c.Window)
	return c.query("", binary(parser.MUL, c.ofThisAlert(BurnRateMetric+slo.FormatWindow(t.Long)), number(share)), "humanizePercentage", "an unknown share")
}

// lasts says how long the budget that is left holds at this rate: left × period / burn rate. Before the
// budget's first recording a full budget is taken.
func (c *compiler) lasts(t slo.Tier) string {
	burn := c.ofThisAlert(BurnRateMetric + slo.FormatWindow(t.Long))
	period := number(c.Window.Seconds())
	seconds := binary(parser.LOR,
		binary(parser.DIV, binary(parser.MUL, c.ofThisAlert(RemainingMetric), period), burn),
		binary(parser.DIV, period, burn))
	return c.query("; at this rate the rest lasts ", binary(parser.GTR, paren(seconds), number(0)), "humanizeDuration", "; nothing of it is left")
}

// tenantHole stands for the tenant's quoted name until the template fills it in.
const tenantHole = "slowburn-tenant-hole"

func (c *compiler) ofThisAlert(metric string) parser.Expr {
	s := c.recorded(metric)
	if c.Tenant.Label != "" {
		s = s.matching(labels.MatchEqual, c.Tenant.Label, tenantHole)
	}
	return s.vector()
}

// query writes a template that runs e for the alert's tenant and prints its value after a lead. The tenant's name is quoted by printf, since
// nothing that comes from a label may become PromQL.
func (c *compiler) query(lead string, e parser.Expr, format, otherwise string) string {
	text := strings.ReplaceAll(e.String(), "%", "%%")
	pattern := strings.ReplaceAll(text, `"`+tenantHole+`"`, "%q")
	arguments := strings.Repeat(" "+c.tenantReference(), strings.Count(pattern, "%q"))
	return fmt.Sprintf("{{ with printf %s%s | query }}%s{{ . | first | value | %s }}{{ else }}%s{{ end }}",
		goQuote(pattern), arguments, lead, format, otherwise)
}

// goQuote quotes for a template: raw where it can, so that the rule file stays readable.
func goQuote(s string) string {
	if !strings.ContainsAny(s, "`\n") {
		return "`" + s + "`"
	}
	return fmt.Sprintf("%q", s)
}

// literal keeps template actions in a name from being run.
func literal(s string) string { return strings.ReplaceAll(s, "{{", `{{ "{{" }}`) }
