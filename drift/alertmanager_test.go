package drift

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/slowburn/slowburn/fixtures"
	"github.com/slowburn/slowburn/slo"
)

const soundAlertmanager = `route:
  receiver: team
  group_by: [service, slo, tenant]
  routes:
    - matchers: ['severity="page"']
      receiver: on-call
inhibit_rules:
  - source_matchers: ['alertname="ErrorBudgetBurn"', 'burn_tier="fast"']
    target_matchers: ['alertname="ErrorBudgetBurn"', 'burn_tier=~"medium|slow|long"']
    equal: [service, slo, tenant]
  - source_matchers: ['alertname="ErrorBudgetBurn"', 'burn_tier="medium"']
    target_matchers: ['alertname="ErrorBudgetBurn"', 'burn_tier=~"slow|long"']
    equal: [service, slo, tenant]
  - source_matchers: ['alertname="ErrorBudgetBurn"', 'burn_tier="slow"']
    target_matchers: ['alertname="ErrorBudgetBurn"', 'burn_tier="long"']
    equal: [service, slo, tenant]
receivers:
  - name: team
    slack_configs: [{api_url: 'http://127.0.0.1/x', channel: '#team'}]
  - name: on-call
    webhook_configs: [{url: 'http://127.0.0.1/on-call'}]
  - name: nobody
`

// sreContract has all four tiers.
func sreContract(t testing.TB) Contract {
	c := availability(t)
	policy, err := slo.PolicyNamed("sre")
	if err != nil {
		t.Fatal(err)
	}
	c.Objectives[0].Policy = policy
	return c
}

func routed(t *testing.T, text string, r Routing) (Report, []Route) {
	t.Helper()
	return AlertmanagerFile(sreContract(t), fstest.MapFS{"alertmanager.yml": {Data: []byte(text)}}, "alertmanager.yml", r)
}

// rows prints routes as a table.
func rows(routes []Route) string {
	var b strings.Builder
	for _, r := range routes {
		fmt.Fprintf(&b, "%s %q %v paged=%v by=%v wait=%s repeat=%s inhibited=%v why=%s line=%d\n", r.Tier, r.Tenant, r.Receivers, r.Paged, r.GroupBy, r.GroupWait, r.Repeat, r.Inhibited, r.Why, r.Line)
	}
	return b.String()
}

func TestSoundAlertmanager(t *testing.T) {
	r, routes := routed(t, soundAlertmanager, Routing{})
	if drifting, compared := r.Share(); drifting != 0 || compared != 8 || len(r.Findings) != 0 {
		t.Errorf("%d of %d drift:\n%s", drifting, compared, facts(r))
	}
	want := `fast "" [on-call] paged=true by=[service slo tenant] wait=30s repeat=4h0m0s inhibited=[] why= line=5
medium "" [on-call] paged=true by=[service slo tenant] wait=30s repeat=4h0m0s inhibited=[fast] why= line=5
slow "" [team] paged=true by=[service slo tenant] wait=30s repeat=4h0m0s inhibited=[fast medium] why= line=2
long "" [team] paged=true by=[service slo tenant] wait=30s repeat=4h0m0s inhibited=[fast medium slow] why= line=2
`
	if got := rows(routes); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAlertmanagerDrift(t *testing.T) {
	for name, test := range map[string]struct {
		old, now string
		routing  Routing
		want     []string
	}{
		"nobody is paged":              {"webhook_configs: [{url: 'http://127.0.0.1/on-call'}]", "", Routing{}, []string{"differs: api/availability route of the fast tier; want a receiver that tells somebody; got nobody: no notifier is set up for on-call @ alertmanager.yml:5", "route of the medium tier"}},
		"an empty list of notifiers":   {"webhook_configs: [{url: 'http://127.0.0.1/on-call'}]", "webhook_configs: []", Routing{}, []string{"route of the fast tier", "route of the medium tier"}},
		"one tenant, by its route":     {"routes:", "routes:\n    - {matchers: ['tenant=\"initech\"'], receiver: nobody}", Routing{}, []string{"route of the fast tier for tenant initech", "medium tier for tenant initech", "slow tier for tenant initech", "long tier for tenant initech"}},
		"one tenant, by its name":      {"routes:", "routes:\n    - {matchers: ['tenant=~\"init.+\"'], receiver: nobody}", Routing{Tenants: []string{"acme", "initech"}}, []string{"route of the fast tier for tenant initech", "medium tier for tenant initech", "slow tier for tenant initech", "long tier for tenant initech"}},
		"on to the next":               {"routes:", "routes:\n    - {matchers: ['tenant=\"initech\"'], receiver: nobody, continue: true}", Routing{}, []string{"slow tier for tenant initech", "long tier for tenant initech"}},
		"no inhibition":                {soundAlertmanager[strings.Index(soundAlertmanager, "inhibit_rules"):strings.Index(soundAlertmanager, "receivers")], "", Routing{}, []string{"missing: api/availability inhibition of the medium tier", "slow", "long"}},
		"inhibition across tenants":    {"equal: [service, slo, tenant]\n  - source_matchers: ['alertname=\"ErrorBudgetBurn\"', 'burn_tier=\"medium\"']", "equal: [service, slo]\n  - source_matchers: ['alertname=\"ErrorBudgetBurn\"', 'burn_tier=\"medium\"']", Routing{}, []string{"differs: api/availability inhibition of the medium tier; want kept still while a faster tier fires, and by nothing slower or of others; got silenced by the fast tier of another tenant @ alertmanager.yml:8", "slow", "long"}},
		"the slow silence the fast":    {"receivers:", "  - {source_matchers: ['severity=\"ticket\"'], target_matchers: ['severity=\"page\"'], equal: [service, slo, tenant]}\nreceivers:", Routing{}, []string{"inhibition of the fast tier; want kept still while a faster tier fires, and by nothing slower or of others; got silenced by the slower tier slow @ alertmanager.yml:17", "medium"}},
		"muted at the weekend":         {"receiver: on-call", "receiver: on-call\n      mute_time_intervals: [weekend]\ntime_intervals: [{name: weekend, time_intervals: [{weekdays: [saturday, sunday]}]}]", Routing{}, []string{"alertmanager.yml:5:7: api/availability: the page of the fast tier is muted during weekend (weekdays saturday, sunday): route pages past the time intervals (SB084)", "medium"}},
		"awake in office hours":        {"receiver: on-call", "receiver: on-call\n      active_time_intervals: [office]\ntime_intervals: [{name: office, time_intervals: [{times: [{start_time: '09:00', end_time: '17:00'}]}]}]", Routing{}, []string{"muted outside office (times start time 09:00 end time 17:00)", "medium"}},
		"muted, but there is another":  {"receiver: on-call", "receiver: on-call\n      continue: true\n      mute_time_intervals: [weekend]\n    - {matchers: ['severity=\"page\"'], receiver: team}\ntime_intervals: [{name: weekend, time_intervals: [{weekdays: [saturday, sunday]}]}]", Routing{}, []string{""}},
		"the deprecated form":          {"matchers: ['severity=\"page\"']", "match: {severity: page}", Routing{}, []string{"alertmanager.yml:5:7: match is deprecated (1 uses)"}},
		"of a newer Alertmanager":      {"group_by: [service, slo, tenant]", "group_by: [service, slo, tenant]\n  group_colour:\n    of: [blue]", Routing{}, []string{"alertmanager.yml:4:3: field group_colour is not known here"}},
		"templates are not needed":     {"receivers:", "templates: ['/etc/nowhere/*.tmpl']\nreceivers:", Routing{}, []string{""}},
		"inhibited by something else":  {"receivers:", "  - {source_matchers: ['alertname=\"ClusterDown\"'], target_matchers: ['severity=\"page\"']}\nreceivers:", Routing{}, []string{""}},
		"torn":                         {"receivers:", "receivers: [", Routing{}, []string{"unchecked", "unchecked", "unchecked", "unchecked", "not compared"}},
		"a receiver that is not there": {"receiver: team", "receiver: x", Routing{}, []string{"unchecked", "unchecked", "unchecked", "unchecked", `undefined receiver "x"`}},
		"nothing":                      {soundAlertmanager, "", Routing{}, []string{"unchecked", "unchecked", "unchecked", "unchecked", "it is empty"}},
		"no route":                     {soundAlertmanager, "receivers: []", Routing{}, []string{"unchecked", "unchecked", "unchecked", "unchecked", "no route"}},
		"a YAML bomb":                  {soundAlertmanager, hugeYAML(), Routing{}, []string{"unchecked", "unchecked", "unchecked", "unchecked", "aliases"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(soundAlertmanager, test.old, test.now, 1)
			if text == soundAlertmanager {
				t.Fatalf("%q is not there", test.old)
			}
			r, routes := routed(t, text, test.routing)
			got := notSame(r)
			if len(got) != len(test.want) {
				t.Fatalf("got\n%s\n%s", strings.Join(got, "\n"), rows(routes))
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) || want == "" && got[i] != "" {
					t.Errorf("got %s\nwant %s", got[i], want)
				}
			}
		})
	}
}

func TestWhoElseSilencesAPage(t *testing.T) {
	_, routes := routed(t, strings.Replace(soundAlertmanager, "receivers:", "  - {source_matchers: ['alertname=\"ClusterDown\"'], target_matchers: ['severity=\"page\"']}\nreceivers:", 1), Routing{})
	if got := routes[0].Inhibited; !slices.Equal(got, []string{`{alertname="ClusterDown"}`}) {
		t.Errorf("inhibited by %v", got)
	}
}

// The receivers that amtool names for a set of labels are those that we name.
func TestRoutesAgreeWithAmtool(t *testing.T) {
	amtool, err := exec.LookPath("amtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no amtool: install the package prometheus-alertmanager")
		}
		t.Skip("no amtool: install the package prometheus-alertmanager")
	}
	const text = `route:
  receiver: default
  routes:
    - matchers: ['service=~"a.+"']
      receiver: a-team
      routes:
        - {matchers: ['severity="page"', 'tenant!="acme"'], receiver: a-pager, continue: true}
        - {match: {severity: page}, receiver: a-boss}
        - {match_re: {burn_tier: slow|long}, receiver: a-tickets}
    - {matchers: ['tenant="globex"'], receiver: globex, continue: true}
    - {matchers: [tenant=globex, severity=page], receiver: globex-pager}
    - {matchers: ['slo!~"avail.*"'], receiver: others}
receivers: [{name: default}, {name: a-team}, {name: a-pager}, {name: a-boss}, {name: a-tickets}, {name: globex}, {name: globex-pager}, {name: others}]
`
	file := filepath.Join(t.TempDir(), "alertmanager.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := sreContract(t)
	for _, more := range [][2]string{{"search", "availability"}, {"search", "latency"}, {"analytics", "latency"}} {
		o := c.Objectives[0]
		o.Service, o.Name = more[0], more[1]
		c.Objectives = append(c.Objectives, o)
	}
	_, routes := AlertmanagerFile(c, os.DirFS(filepath.Dir(file)), "alertmanager.yml", Routing{Tenants: []string{"acme", "globex", "initech"}})
	if len(routes) != 4*4*3 {
		t.Fatalf("%d routes:\n%s", len(routes), rows(routes))
	}
	for _, r := range routes {
		out, err := exec.CommandContext(t.Context(), amtool, "config", "routes", "test", "--config.file="+file, "alertname=ErrorBudgetBurn",
			"severity="+r.Severity, "burn_tier="+r.Tier, "service="+r.Service, "slo="+r.SLO, "tenant="+r.Tenant).Output()
		if err != nil {
			t.Fatalf("amtool: %v\n%s", err, out)
		}
		if got, want := strings.Join(r.Receivers, ","), strings.TrimSpace(string(out)); got != want {
			t.Errorf("%+v: we say %s, amtool %s", r, got, want)
		}
	}
}

func FuzzAlertmanager(f *testing.F) {
	f.Add([]byte(soundAlertmanager))
	f.Add([]byte("route:\n  receiver: a\n  x: y\n  routes:\n    -"))
	f.Add([]byte("route: {receiver: a, group_colour: x}\nreceivers: [{name: a}]"))
	f.Add([]byte("route:\n  receiver: a\n  x:\n  - y\n  routes: [{receiver: a, match_re: {tenant: '(a|b)'}}]\nreceivers: [{name: a, email_configs: []}]\n"))
	f.Add([]byte("r: &r {receiver: a}\nroute: *r\nreceivers: [{name: a}]\ninhibit_rules: [{}, {equal: [x]}]"))
	c := sreContract(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, routes := AlertmanagerFile(c, fstest.MapFS{"a.yml": {Data: text}}, "a.yml", Routing{})
		if len(r.Facts) < 4 {
			t.Errorf("the tiers are gone:\n%s", facts(r))
		}
		for _, route := range routes {
			if len(route.Receivers) == 0 {
				t.Errorf("route %+v", route)
			}
		}
		for _, finding := range r.AllFindings() {
			if finding.Rule == "" || finding.Message == "" || strings.ContainsAny(finding.String(), "\n\x1b") {
				t.Errorf("finding %q", finding)
			}
		}
	})
}

func FuzzPrometheus(f *testing.F) {
	f.Add([]byte(soundPrometheus), []byte(soundCompose))
	f.Add([]byte("scrape_configs: [{job_name: api, scrape_interval: 1y, file_sd_configs: [{files: ['*.json', '[']}]}]\nrule_files: ['[', /x, ../y, '']"), []byte("services: {prometheus: {image: prom/prometheus, command: 1, volumes: [./:/, {source: ., target: /}]}}"))
	c := availability(f)
	f.Fuzz(func(t *testing.T, text, compose []byte) {
		files := fstest.MapFS{"p.yml": {Data: text}, "c.yml": {Data: compose}, "rules/a.yml": {Data: []byte("groups: []")}}
		r, _ := PrometheusFile(c, files, "p.yml", Deployment{Compose: []string{"c.yml"}})
		if len(r.Facts) < 2 {
			t.Errorf("the tiers are gone:\n%s", facts(r))
		}
		for _, finding := range r.AllFindings() {
			if finding.Rule == "" || finding.Message == "" || strings.ContainsAny(finding.String(), "\n\x1b") {
				t.Errorf("finding %q", finding)
			}
		}
	})
}

// The shop's own configuration is sound but for its rules, which slowburn generate writes at deploy time.
func TestShop(t *testing.T) {
	c := availability(t)
	c.Services = nil
	for i, name := range []string{"api", "search", "analytics", "billing"} {
		c.Services = append(c.Services, Service{Name: name, Targets: []string{fmt.Sprintf("http://127.0.0.1:%d/metrics", 4001+i)}})
		if i == 1 || i == 2 {
			o := c.Objectives[0]
			o.Service = name
			c.Objectives = append(c.Objectives, o)
		}
	}
	r, routes := AlertmanagerFile(c, fixtures.Shop(), "alertmanager.yml", Routing{Tenants: []string{"acme", "globex", "initech"}})
	if drifting, compared := r.Share(); drifting != 0 || compared != 3*2*3+3*2 || len(r.Findings) != 0 || len(routes) != 18 {
		t.Errorf("%d of %d drift:\n%s", drifting, compared, facts(r))
	}
	prometheus, _ := PrometheusFile(c, fixtures.Shop(), "prometheus.yml", Deployment{Compose: []string{"compose.yaml"}})
	for _, f := range prometheus.Facts {
		if strings.HasPrefix(f.Subject, "scrape") && f.Verdict != Same || f.Subject == "delivery of alerts" && f.Verdict != Same {
			t.Errorf("%s/%s %s: %s %s", f.Service, f.SLO, f.Subject, f.Verdict, f.Got)
		}
	}
}
