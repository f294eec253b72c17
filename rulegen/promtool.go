package rulegen

import (
	"errors"
	"fmt"
	"io"
	"math"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/slowburn/slowburn/slo"
)

// testTenant is the tenant of generated tests.
const testTenant = "slowburn-test"

// testSteps is how long generated tests run, in steps of a fifth of the shortest window.
const testSteps = 20

// promtoolTests is the file format of promtool test rules.
type promtoolTests struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []promtoolTest `yaml:"tests"`
}

type promtoolTest struct {
	Name        string         `yaml:"name"`
	Interval    model.Duration `yaml:"interval"`
	InputSeries []inputSeries  `yaml:"input_series"`
	Expressions []exprTest     `yaml:"promql_expr_test"`
}

type inputSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type exprTest struct {
	Expr     string         `yaml:"expr"`
	EvalTime model.Duration `yaml:"eval_time"`
	Samples  []exprSample   `yaml:"exp_samples"`
}

type exprSample struct {
	Labels string  `yaml:"labels"`
	Value  float64 `yaml:"value"`
}

// WriteTests writes a promtool test file for the rules in ruleFile: for every objective, each tier fires
// in a total outage, and none fires at half of the lowest threshold.
func WriteTests(w io.Writer, objectives []slo.Objective, ruleFile string, o Options) error {
	step := time.Minute
	var tests []promtoolTest
	var faults []error
	for _, objective := range objectives {
		c, err := newCompiler(objective, o)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: objective %s: %w", objective.Source(), objective.ID(), err))
			continue
		}
		step = min(step, c.testStep())
		made, err := c.tests()
		faults = append(faults, err)
		tests = append(tests, made...)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	return writeYAML(w, promtoolTests{RuleFiles: []string{ruleFile}, EvaluationInterval: model.Duration(step), Tests: tests})
}

func (c *compiler) testStep() time.Duration {
	return min(time.Minute, max(time.Millisecond, c.windows()[0]/5))
}

func (c *compiler) tests() ([]promtoolTest, error) {
	outage, err := c.events.series(10, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: objective %s: %w", c.Source(), c.ID(), err)
	}
	const events = 1_000_000
	bad := int(c.Target.ErrorRatio(c.lowestFactor()/2) * events)
	quiet, err := c.events.series(bad, events-bad)
	if err != nil {
		return nil, fmt.Errorf("%s: objective %s: %w", c.Source(), c.ID(), err)
	}
	fires := promtoolTest{Name: c.ID() + ": a total outage fires every tier", Interval: model.Duration(c.testStep()), InputSeries: outage}
	for _, t := range c.Policy.Tiers {
		fires.Expressions = append(fires.Expressions, c.firing(t, exprSample{Labels: "{}", Value: 1}))
	}
	silent := promtoolTest{Name: c.ID() + ": half of the lowest threshold fires nothing", Interval: model.Duration(c.testStep()), InputSeries: quiet}
	for _, t := range c.Policy.Tiers {
		silent.Expressions = append(silent.Expressions, c.firing(t))
	}
	return []promtoolTest{fires, silent}, nil
}

func (c *compiler) lowestFactor() float64 {
	lowest := math.Inf(1)
	for _, t := range c.Policy.Tiers {
		lowest = min(lowest, t.Factor)
	}
	return lowest
}

func (c *compiler) firing(t slo.Tier, want ...exprSample) exprTest {
	s := c.recorded("ALERTS").with("alertname", AlertName).with("alertstate", "firing").with("burn_tier", t.Name)
	return exprTest{
		Expr:     (&parser.AggregateExpr{Op: parser.COUNT, Expr: s.vector()}).String(),
		EvalTime: model.Duration(testSteps*c.testStep() + t.For),
		Samples:  want,
	}
}

func (c counters) series(bad, good int) ([]inputSeries, error) {
	badLabels, err := example(c.errors)
	if err != nil {
		return nil, err
	}
	goodLabels, err := c.goodExample()
	if err != nil {
		return nil, err
	}
	return []inputSeries{
		{Series: c.tagged(goodLabels), Values: counting(good)},
		{Series: c.tagged(badLabels), Values: counting(bad)},
	}, nil
}

// goodExample is a series that counts as an event and not as an error: it differs in a label that only the
// errors' selector speaks of.
func (c counters) goodExample() (labels.Labels, error) {
	base, err := example(c.total)
	if err != nil {
		return labels.EmptyLabels(), err
	}
	for _, m := range c.errors.matchers {
		for _, candidate := range []string{"200", "good", "ok", "2xx", "true", "false", "0"} {
			if !m.Matches(candidate) && !c.total.names(m.Name) {
				return labels.NewBuilder(base).Set(m.Name, candidate).Labels(), nil
			}
		}
	}
	if c.errors.metric != c.total.metric {
		return base, nil
	}
	return labels.EmptyLabels(), fmt.Errorf("no good event tells itself apart from the errors %s", c.errors)
}

func (b buckets) series(bad, good int) ([]inputSeries, error) {
	all, err := example(b.all)
	if err != nil {
		return nil, err
	}
	le, err := example(b.good)
	if err != nil {
		return nil, err
	}
	return []inputSeries{
		{Series: b.tagged(all), Values: counting(bad + good)},
		{Series: b.tagged(le), Values: counting(good)},
	}, nil
}

func (n native) series(bad, good int) ([]inputSeries, error) {
	lbls, err := example(n.metric)
	if err != nil {
		return nil, err
	}
	exponent := int(math.Floor(math.Log2(n.bound)))
	// With schema 0 bucket i ends at 2^i: two steps below the bound is good, two above is bad.
	histogram := fmt.Sprintf("{{schema:0 sum:1 count:%d offset:%d buckets:[%d 0 0 0 %d]}}", bad+good, exponent-2, good, bad)
	return []inputSeries{{Series: n.tagged(lbls), Values: fmt.Sprintf("%s+%sx%d", histogram, histogram, 2*testSteps)}}, nil
}

func (s scope) tagged(lbls labels.Labels) string {
	if s.by == "" || lbls.Has(s.by) {
		return lbls.String()
	}
	return labels.NewBuilder(lbls).Set(s.by, testTenant).Labels().String()
}

func counting(perStep int) string { return fmt.Sprintf("0+%dx%d", perStep, 2*testSteps) }

// example is a series that the selector matches.
func example(s selector) (labels.Labels, error) {
	b := labels.NewScratchBuilder(len(s.matchers) + 1)
	b.Add(model.MetricNameLabel, s.metric)
	for _, m := range s.matchers {
		value, err := exampleValue(m)
		if err != nil {
			return labels.EmptyLabels(), fmt.Errorf("selector %s: %w", s, err)
		}
		if value != "" {
			b.Add(m.Name, value)
		}
	}
	b.Sort()
	return b.Labels(), nil
}

func exampleValue(m *labels.Matcher) (string, error) {
	candidates := []string{"", "good", "200"}
	switch m.Type {
	case labels.MatchEqual:
		return m.Value, nil
	case labels.MatchRegexp:
		if re, err := syntax.Parse(m.Value, syntax.Perl); err == nil {
			candidates = append(candidates, "500", spell(re))
		}
	}
	if at := slices.IndexFunc(candidates, m.Matches); at >= 0 {
		return candidates[at], nil
	}
	return "", fmt.Errorf("no example value found for %s", m)
}

// spell writes one string that the expression is likely to match; the caller checks it.
func spell(re *syntax.Regexp) string {
	var text strings.Builder
	switch re.Op {
	case syntax.OpLiteral:
		text.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		if len(re.Rune) > 0 {
			text.WriteRune(re.Rune[0])
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		text.WriteByte('0')
	case syntax.OpAlternate, syntax.OpCapture, syntax.OpPlus:
		text.WriteString(spell(re.Sub[0]))
	case syntax.OpRepeat:
		text.WriteString(strings.Repeat(spell(re.Sub[0]), re.Min))
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			text.WriteString(spell(sub))
		}
	}
	return text.String()
}
