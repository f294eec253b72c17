package rulegen

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/slowburn/slowburn/slo"
)

// TestWriteOpenSLO holds the files to testdata, and each object to what OpenSLO's own library refuses: no
// release of that library can be had here, so its rules are listed below.
func TestWriteOpenSLO(t *testing.T) {
	for name, objectives := range worlds() {
		if name == "scaled" {
			continue // its windows are seconds
		}
		t.Run(name, func(t *testing.T) {
			var first, again bytes.Buffer
			for _, b := range []*bytes.Buffer{&first, &again} {
				if err := WriteOpenSLO(b, objectives, Options{}); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(first.Bytes(), again.Bytes()) {
				t.Error("the same objectives gave other bytes")
			}
			compare(t, name+".openslo.yml", first.Bytes())
			checkOpenSLO(t, first.Bytes())
		})
	}
}

func TestWriteOpenSLORefuses(t *testing.T) {
	seconds, nameless := worlds()["scaled"][0], availability()
	nameless.Service = "ö"
	for want, o := range map[string]slo.Objective{"no durations below a minute": seconds, "no letter or digit": nameless} {
		var b bytes.Buffer
		err := WriteOpenSLO(&b, []slo.Objective{o, availability()}, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || b.Len() > 0 {
			t.Errorf("error %v with %d bytes written, want %q and none", err, b.Len(), want)
		}
	}
}

func TestOpenSLODuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0m", 5 * time.Minute: "5m", 90 * time.Minute: "90m", 24 * time.Hour: "1d", 30 * 24 * time.Hour: "30d", time.Second: ""} {
		if got, _ := openSLODuration(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	oneUnit      = regexp.MustCompile(`^[0-9]+[mhdwMQY]$`)
	annotatedKey = regexp.MustCompile(`^([a-z0-9.-]+/)?[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)
)

// checkOpenSLO decodes strictly and applies the field rules of OpenSLO v1 that our output can break.
func checkOpenSLO(t *testing.T, text []byte) {
	t.Helper()
	type object struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   openSLOMeta
		Spec       yaml.Node
	}
	named := func(m openSLOMeta) {
		if !dnsLabel.MatchString(m.Name) {
			t.Errorf("name %q is no DNS label", m.Name)
		}
		for key := range m.Annotations {
			if !annotatedKey.MatchString(key) {
				t.Errorf("annotation key %q", key)
			}
		}
	}
	targets, referred, slos := []string{}, []string{}, 0
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var o object
		decoder.KnownFields(true)
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		named(o.Metadata)
		if o.APIVersion != "openslo/v1" || !slices.Contains([]string{"Service", "SLO", "AlertNotificationTarget"}, o.Kind) {
			t.Errorf("%s of %s", o.Kind, o.APIVersion)
		}
		if o.Kind == "AlertNotificationTarget" {
			targets = append(targets, o.Metadata.Name)
		}
		if o.Kind != "SLO" {
			continue
		}
		slos++
		var s openSLOSpec
		if err := o.Spec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		if len(s.TimeWindow) != 1 || !oneUnit.MatchString(s.TimeWindow[0].Duration) || !s.TimeWindow[0].IsRolling {
			t.Errorf("time window %+v", s.TimeWindow)
		}
		if len(s.Objectives) != 1 || s.Objectives[0].Target < 0 || s.Objectives[0].Target >= 1 || !dnsLabel.MatchString(s.Service) {
			t.Errorf("objectives %+v of %q", s.Objectives, s.Service)
		}
		named(s.Indicator.Metadata)
		for _, p := range s.AlertPolicies {
			named(p.Metadata)
			var policy struct {
				Conditions          []struct{ Spec openSLOCondition }
				NotificationTargets []struct {
					TargetRef string `yaml:"targetRef"`
				} `yaml:"notificationTargets"`
			}
			reread(t, p.Spec, &policy)
			if len(policy.Conditions) != 1 || len(policy.NotificationTargets) == 0 || p.Kind != "AlertPolicy" {
				t.Errorf("policy %s: %+v", p.Metadata.Name, policy)
			}
			for _, target := range policy.NotificationTargets {
				referred = append(referred, target.TargetRef)
			}
			for _, c := range policy.Conditions {
				b := c.Spec.Condition
				if b.Kind != "burnrate" || b.Op != "gt" || b.Threshold <= 0 || !oneUnit.MatchString(b.LookbackWindow) || !oneUnit.MatchString(b.AlertAfter) || c.Spec.Severity == "" {
					t.Errorf("condition %+v", c.Spec)
				}
			}
		}
	}
	if slos == 0 || len(referred) == 0 {
		t.Errorf("%d SLOs, %d references to targets", slos, len(referred))
	}
	for _, r := range referred {
		if !slices.Contains(targets, r) {
			t.Errorf("notification target %q is not defined", r)
		}
	}
}

func reread(t *testing.T, from, into any) {
	t.Helper()
	text, err := yaml.Marshal(from)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}
