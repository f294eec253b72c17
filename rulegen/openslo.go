package rulegen

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// OpenSLO v1 objects, of which we need this much.
type openSLOObject struct {
	APIVersion string      `yaml:"apiVersion,omitempty"` // none where the object stands inside another
	Kind       string      `yaml:"kind,omitempty"`
	Metadata   openSLOMeta `yaml:"metadata"`
	Spec       any         `yaml:"spec"`
}

type openSLOMeta struct {
	Name        string            `yaml:"name"`
	DisplayName string            `yaml:"displayName,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

type openSLOSpec struct {
	Description     string             `yaml:"description,omitempty"`
	Service         string             `yaml:"service"`
	BudgetingMethod string             `yaml:"budgetingMethod"`
	TimeWindow      []openSLOWindow    `yaml:"timeWindow"`
	Indicator       openSLOObject      `yaml:"indicator"`
	Objectives      []openSLOObjective `yaml:"objectives"`
	AlertPolicies   []openSLOObject    `yaml:"alertPolicies"`
}

type openSLOWindow struct {
	Duration  string `yaml:"duration"`
	IsRolling bool   `yaml:"isRolling"`
}

type openSLOObjective struct {
	DisplayName string  `yaml:"displayName"`
	Target      float64 `yaml:"target"`
}

type openSLORatio struct {
	RatioMetric openSLOCounters `yaml:"ratioMetric"`
}

type openSLOCounters struct {
	Counter bool           `yaml:"counter"`
	Good    *openSLOMetric `yaml:"good,omitempty"`
	Bad     *openSLOMetric `yaml:"bad,omitempty"`
	Total   *openSLOMetric `yaml:"total,omitempty"`
	RawType string         `yaml:"rawType,omitempty"`
	Raw     *openSLOMetric `yaml:"raw,omitempty"`
}

type openSLOMetric struct {
	MetricSource openSLOSource `yaml:"metricSource"`
}

type openSLOSource struct {
	Type string            `yaml:"type"`
	Spec map[string]string `yaml:"spec"`
}

type openSLOPolicy struct {
	AlertWhenBreaching  bool            `yaml:"alertWhenBreaching"`
	AlertWhenResolved   bool            `yaml:"alertWhenResolved"`
	Conditions          []openSLOObject `yaml:"conditions"`
	NotificationTargets []openSLOTarget `yaml:"notificationTargets"`
}

type openSLOTarget struct {
	TargetRef string `yaml:"targetRef"`
}

type openSLOCondition struct {
	Severity  string          `yaml:"severity"`
	Condition openSLOBurnRate `yaml:"condition"`
}

type openSLOBurnRate struct {
	Kind           string  `yaml:"kind"`
	Op             string  `yaml:"op"`
	Threshold      float64 `yaml:"threshold"`
	LookbackWindow string  `yaml:"lookbackWindow"`
	AlertAfter     string  `yaml:"alertAfter"`
}

const openSLOVersion = "openslo/v1"

// WriteOpenSLO writes OpenSLO v1: the services, an SLO for each objective with a policy for each tier, and a
// notification target for each severity. What the format has no place for stands in annotations: a tier's
// short window, the tenant label, the failed events that a tier needs, and where the contract is written.
func WriteOpenSLO(w io.Writer, objectives []slo.Objective, o Options) error {
	var services, severities []string
	var slos []any
	var faults []error
	for _, objective := range objectives {
		c, err := newCompiler(objective, o)
		var made openSLOObject
		if err == nil {
			made, err = c.openSLO()
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: objective %s: %w", objective.Source(), objective.ID(), err))
			continue
		}
		slos = append(slos, made)
		services = append(services, c.Service)
		for _, t := range c.Policy.Tiers {
			severities = append(severities, t.Severity)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	var documents []any
	for _, service := range unique(services) {
		documents = append(documents, openSLOObject{APIVersion: openSLOVersion, Kind: "Service", Metadata: openSLOMeta{Name: dnsName(service)},
			Spec: map[string]string{"description": "Service " + service}})
	}
	for _, severity := range unique(severities) {
		documents = append(documents, openSLOObject{APIVersion: openSLOVersion, Kind: "AlertNotificationTarget", Metadata: openSLOMeta{Name: dnsName(severity)},
			Spec: map[string]string{"description": "Alertmanager's route for severity " + severity, "target": "alertmanager"}})
	}
	return writeYAML(w, append(documents, slos...)...)
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *compiler) openSLO() (openSLOObject, error) {
	name := dnsName(c.Service + "-" + c.Name)
	if name == "" || dnsName(c.Service) == "" {
		return openSLOObject{}, errors.New("has no letter or digit that OpenSLO takes in a name")
	}
	period, err := openSLODuration(c.Window)
	if err != nil {
		return openSLOObject{}, err
	}
	spec := openSLOSpec{
		Description: c.Description, Service: dnsName(c.Service), BudgetingMethod: "Occurrences",
		TimeWindow: []openSLOWindow{{Duration: period, IsRolling: true}},
		Indicator:  openSLOObject{Metadata: openSLOMeta{Name: name}, Spec: openSLORatio{c.openSLOCounters()}},
		Objectives: []openSLOObjective{{DisplayName: c.Name, Target: float64(c.Target)}},
	}
	if runes := []rune(spec.Description); len(runes) > maxOpenSLOText {
		spec.Description = string(runes[:maxOpenSLOText])
	}
	for _, t := range c.Policy.Tiers {
		policy, err := c.openSLOPolicy(t)
		if err != nil {
			return openSLOObject{}, err
		}
		spec.AlertPolicies = append(spec.AlertPolicies, policy)
	}
	return openSLOObject{APIVersion: openSLOVersion, Kind: "SLO", Metadata: openSLOMeta{Name: name, Annotations: c.openSLONotes()}, Spec: spec}, nil
}

// maxOpenSLOText is how long a description may be.
const maxOpenSLOText = 1050

func (c *compiler) openSLONotes() map[string]string {
	notes := map[string]string{
		"slowburn.dev/service": c.Service,
		"slowburn.dev/slo":     c.Name,
		"slowburn.dev/source":  slo.Position{File: c.Source().File, Line: c.Source().Line}.String(),
	}
	if c.MinFailures > 0 {
		notes["slowburn.dev/min-failures"] = slo.FormatNumber(float64(c.MinFailures))
	}
	if c.Tenant.Label != "" {
		notes["slowburn.dev/tenant-label"] = c.Tenant.Label
	}
	if c.RunbookURL != "" {
		notes["slowburn.dev/runbook-url"] = c.RunbookURL
	}
	return notes
}

func (c *compiler) openSLOCounters() openSLOCounters {
	metric := func(query string) *openSLOMetric {
		return &openSLOMetric{openSLOSource{Type: "Prometheus", Spec: map[string]string{"query": query}}}
	}
	switch e := c.events.(type) {
	case counters:
		return openSLOCounters{Counter: true, Bad: metric(e.errors.String()), Total: metric(e.total.String())}
	case buckets:
		return openSLOCounters{Counter: true, Good: metric(e.good.String()), Total: metric(e.all.String())}
	case native:
		good := call("histogram_fraction", number(0), number(e.bound), e.sum("rate", e.metric, c.windows()[0]))
		return openSLOCounters{RawType: "success", Raw: metric(good.String())}
	}
	panic(fmt.Sprintf("rulegen: events %T", c.events))
}

func (c *compiler) openSLOPolicy(t slo.Tier) (openSLOObject, error) {
	lookback, err := openSLODuration(t.Long)
	if err != nil {
		return openSLOObject{}, err
	}
	after, err := openSLODuration(t.For)
	if err != nil {
		return openSLOObject{}, err
	}
	condition := openSLOObject{
		Kind:     "AlertCondition",
		Metadata: openSLOMeta{Name: dnsName(t.Name + "-" + lookback), Annotations: map[string]string{"slowburn.dev/short-window": slo.FormatWindow(t.Short)}},
		Spec: openSLOCondition{Severity: t.Severity, Condition: openSLOBurnRate{
			Kind: "burnrate", Op: "gt", Threshold: t.Factor, LookbackWindow: lookback, AlertAfter: after,
		}},
	}
	return openSLOObject{
		Kind: "AlertPolicy", Metadata: openSLOMeta{Name: dnsName(t.Name)},
		Spec: openSLOPolicy{AlertWhenBreaching: true, AlertWhenResolved: true, Conditions: []openSLOObject{condition},
			NotificationTargets: []openSLOTarget{{dnsName(t.Severity)}}},
	}, nil
}

var openSLODurationForm = regexp.MustCompile(`^[0-9]+[mhd]$`)

// openSLODuration writes a duration in the one unit that OpenSLO allows, none shorter than a minute.
func openSLODuration(d time.Duration) (string, error) {
	if d == 0 {
		return "0m", nil
	}
	if text := slo.FormatWindow(d); openSLODurationForm.MatchString(text) {
		return text, nil
	}
	return "", fmt.Errorf("OpenSLO knows no durations below a minute: %s", d)
}
