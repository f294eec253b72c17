package drift

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

// sending compares where alerts go, and under which labels.
func (p *prometheus) sending() {
	if len(p.contract.Objectives) == 0 {
		return
	}
	alerting := p.at("alerting")
	f := Fact{Subject: "delivery of alerts", Want: "an Alertmanager", There: p.doc.position(alerting.key), Code: p.contract.Objectives[0].Source(), Rule: ruleUnsent, Remedy: "name one under alerting: alertmanagers", Verdict: Missing}
	if there := alertmanagers(find(alerting.value, "alertmanagers").value); len(there) > 0 {
		f.Verdict, f.Got = Same, strings.Join(there, ", ")
	}
	p.add(f)
	p.relabelled(find(alerting.value, "alert_relabel_configs"))
}

// alertmanagers lists targets, or the kind of discovery that finds them.
func alertmanagers(n *yaml.Node) []string {
	var all []string
	for _, c := range items(n) {
		for _, e := range pairs(c) {
			switch key := e.key.Value; {
			case key == "static_configs":
				for _, s := range items(e.value) {
					all = append(all, texts(find(s, "targets").value)...)
				}
			case strings.HasSuffix(key, "_sd_configs") && len(items(e.value)) > 0:
				all = append(all, "found by "+key)
			}
		}
	}
	return all
}

// relabelled runs the alerts' labels through upstream's own relabelling, and reports alerts that are dropped or lose
// what routes and inhibit rules tell them apart by.
func (p *prometheus) relabelled(e entry) {
	if len(items(e.value)) == 0 {
		return
	}
	var rules []*relabel.Config
	err := decode(e.value, &rules)
	for _, r := range rules {
		if err == nil {
			err = r.Validate(model.UTF8Validation)
		}
	}
	for _, o := range p.contract.Objectives {
		for _, t := range o.Policy.Tiers {
			p.relabelledTier(e, o, t, rules, err)
		}
	}
}

func (p *prometheus) relabelledTier(e entry, o slo.Objective, t slo.Tier, rules []*relabel.Config, err error) {
	f := Fact{
		Subject: "labels of the " + t.Name + " tier after relabelling", Service: o.Service, SLO: o.Name, Tier: t.Name, Verdict: Same,
		Want: "the labels of the alert", Got: "the labels of the alert", Code: o.Source(), There: p.doc.position(e.key), Rule: ruleUnsent, Remedy: "leave alerts of slowburn as they are",
	}
	before := alertLabels(o, t, anyTenant)
	b := labels.NewBuilder(before)
	p.external(b)
	switch {
	case err != nil:
		f.Verdict, f.Severity, f.Got = Unchecked, slo.Warning, "the relabelling can't be read: "+err.Error()
	case !relabel.ProcessBuilder(b, rules...):
		f.Verdict, f.Got = Differs, "the alert is dropped"
	default:
		if changed := changes(before, b.Labels()); len(changed) > 0 {
			f.Verdict, f.Got = Differs, strings.Join(changed, ", ")
		}
	}
	p.add(f)
}

// external adds the labels that Prometheus gives to alerts that do not have them.
func (p *prometheus) external(b *labels.Builder) {
	for _, l := range pairs(p.at("global", "external_labels").value) {
		if b.Get(l.key.Value) == "" {
			b.Set(l.key.Value, text(l.value))
		}
	}
}

func changes(before, after labels.Labels) (all []string) {
	before.Range(func(l labels.Label) {
		switch now := after.Get(l.Name); now {
		case l.Value:
		case "":
			all = append(all, l.Name+" is taken away")
		default:
			all = append(all, fmt.Sprintf("%s becomes %q", l.Name, now))
		}
	})
	slices.Sort(all)
	return all
}

// anyTenant stands for a tenant where none is named.
const anyTenant = "any-tenant"

// alertLabels are the labels of a tier's alert as rulegen writes them.
func alertLabels(o slo.Objective, t slo.Tier, tenant string) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	b.Set("alertname", ownAlert).Set("severity", t.Severity).Set("burn_tier", t.Name).Set("service", o.Service).Set("slo", o.Name)
	if o.Tenant.Label != "" {
		b.Set(o.Tenant.Label, tenant)
	}
	return b.Labels()
}
