package drift

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/slowburn/slowburn/slo"
)

const soundPrometheus = `global: {scrape_interval: 15s, evaluation_interval: 15s}
rule_files: [rules/*.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ["alertmanager:9093"]}]}]}
scrape_configs:
  - job_name: api
    static_configs: [{targets: ["api:4001"]}]
`

const soundCompose = `services:
  prometheus:
    image: prom/prometheus:v3.5.0
    command: [--config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.retention.time=35d]
    volumes: ["./prometheus.yml:/etc/prometheus/prometheus.yml:ro", "./rules:/etc/prometheus/rules"]
  api: {build: .}
`

// world is a directory with a sound Prometheus, of which a test changes some files.
func world(t testing.TB, change map[string]string) fs.FS {
	t.Helper()
	rules, err := os.ReadFile("../rulegen/testdata/availability.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{
		"prometheus.yml": {Data: []byte(soundPrometheus)}, "compose.yaml": {Data: []byte(soundCompose)}, "rules/slo.yml": {Data: rules},
	}
	for name, text := range change {
		if text == "" {
			delete(files, name)
			continue
		}
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// notSame prints the facts that are not the same, and the findings.
func notSame(r Report) []string {
	r.Facts = slices.DeleteFunc(slices.Clone(r.Facts), func(f Fact) bool { return f.Verdict == Same })
	return strings.Split(strings.TrimSpace(facts(r)), "\n")
}

func TestSoundPrometheus(t *testing.T) {
	c := availability(t)
	c.Services[0].Targets = []string{"http://api:4001/metrics", "127.0.0.1:4001"}
	r, files := PrometheusFile(c, world(t, nil), "prometheus.yml", Deployment{Compose: []string{"compose.yaml"}})
	if drifting, compared := r.Share(); drifting != 0 || compared != 16 || len(r.Findings) != 0 {
		t.Errorf("%d of %d drift:\n%s", drifting, compared, facts(r))
	}
	if !slices.Equal(files, []string{"rules/slo.yml"}) {
		t.Errorf("it loads %v", files)
	}
}

// One thing is wrong at a time, and nothing else is reported.
func TestPrometheusDrift(t *testing.T) {
	edit := func(old, now string) string {
		if !strings.Contains(soundPrometheus, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(soundPrometheus, old, now, 1)
	}
	compose := func(old, now string) map[string]string {
		return map[string]string{"compose.yaml": strings.Replace(soundCompose, old, now, 1)}
	}
	prometheus := func(text string) map[string]string { return map[string]string{"prometheus.yml": text} }
	for name, test := range map[string]struct {
		files map[string]string
		want  []string // substrings, one for each line that is not the same
	}{
		"stale scrape interval":      {prometheus(edit("scrape_interval: 15s", "scrape_interval: 2m")), []string{"differs: api/availability scrape interval of job api; want at most 1m15s, for 4 samples in 5m; got 2m @ prometheus.yml:1"}},
		"the default is short":       {prometheus(edit("scrape_interval: 15s, ", "")), []string{""}},
		"stale evaluation":           {prometheus(edit("evaluation_interval: 15s", "evaluation_interval: 5m")), []string{"differs: / evaluation interval; want at most 1m15s"}},
		"job's own interval":         {prometheus(edit("- job_name: api", "- job_name: api\n    scrape_interval: 3m")), []string{"got 3m @ prometheus.yml:6"}},
		"interval of no duration":    {prometheus(edit("scrape_interval: 15s", "scrape_interval: often")), []string{`scrape_interval "often" is no duration`}},
		"timeout above its interval": {prometheus(edit("- job_name: api", "- job_name: api\n    scrape_timeout: 20s")), []string{"scrape_timeout 20s is longer than scrape_interval 15s"}},
		"no job":                     {prometheus(edit("api:4001", "search:4002") + "  - {job_name: search}\n"), []string{"differs: api/availability scrape job; want a job that scrapes api; got job api scrapes search:4002"}},
		"no job at all":              {prometheus(strings.Replace(edit("job_name: api", "job_name: x"), "api:4001", "search:4002", 1)), []string{"missing: api/availability scrape job"}},
		"wrong port":                 {prometheus(edit("api:4001", "api:9999")), []string{"got job api scrapes api:9999, and the service is at"}},
		"published port":             {prometheus(edit("api:4001", "localhost:4001")), []string{""}},
		"dns":                        {prometheus(edit(`static_configs: [{targets: ["api:4001"]}]`, "dns_sd_configs: [{names: [tasks.api], type: A, port: 4001}]")), []string{""}},
		"docker":                     {prometheus(edit(`static_configs: [{targets: ["api:4001"]}]`, "docker_sd_configs: [{host: 'unix:///var/run/docker.sock'}]")), []string{""}},
		"docker, some":               {prometheus(edit(`static_configs: [{targets: ["api:4001"]}]`, "docker_sd_configs: [{}]\n    relabel_configs: [{action: keep, regex: x}]")), []string{"unchecked: api/availability scrape job"}},
		"other discovery":            {prometheus(edit(`static_configs: [{targets: ["api:4001"]}]`, "consul_sd_configs: [{server: x}]")), []string{"unchecked: api/availability scrape job"}},
		"file discovery":             {map[string]string{"prometheus.yml": edit(`static_configs: [{targets: ["api:4001"]}]`, "file_sd_configs: [{files: [sd/*.json]}]"), "sd/a.json": `[{"targets": ["api:4001"]}]`}, []string{""}},
		"file discovery, broken":     {map[string]string{"prometheus.yml": edit(`static_configs: [{targets: ["api:4001"]}]`, "file_sd_configs: [{files: [sd/*.json]}]"), "sd/a.json": `[{`}, []string{"unchecked: api/availability scrape job"}},
		"scrape config files":        {map[string]string{"prometheus.yml": "scrape_config_files: [jobs.yml]\n" + edit("api:4001", "x:1"), "jobs.yml": "scrape_configs: [{job_name: more, static_configs: [{targets: ['api:4001']}]}]"}, []string{""}},
		"retention of the default":   {compose(", --storage.tsdb.retention.time=35d", ""), []string{"differs: / retention; want at least 30d, the window of api/availability; got 15d, since no flag says otherwise @ compose.yaml:2"}},
		"retention too short":        {compose("35d", "2w"), []string{"got 2w @ compose.yaml:4"}},
		"retention in years":         {compose("35d", "1y"), []string{""}},
		"retention by variable":      {compose("35d", "${KEEP}"), []string{"unchecked: / retention"}},
		"retention as a string":      {compose("[--config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.retention.time=35d]", "--storage.tsdb.retention.time 10d"), []string{"got 10d"}},
		"retention in its file":      {map[string]string{"compose.yaml": strings.Replace(soundCompose, "35d", "2d", 1), "prometheus.yml": soundPrometheus + "storage: {tsdb: {retention: {time: 60d}}}\n"}, []string{""}},
		"no Compose file starts it":  {map[string]string{"compose.yaml": "services: {api: {build: .}}\n"}, []string{"unchecked: / retention"}},
		"no Alertmanager":            {prometheus(edit("alerting:", "other:")), []string{"missing: / delivery of alerts; want an Alertmanager"}},
		"alerts dropped":             {prometheus(edit("alerting: {", "alerting: {alert_relabel_configs: [{source_labels: [severity], regex: page, action: drop}], ")), []string{"fast tier after relabelling; want the labels of the alert; got the alert is dropped", "medium tier after relabelling"}},
		"labels dropped":             {prometheus(edit("alerting: {", "alerting: {alert_relabel_configs: [{regex: tenant|slo, action: labeldrop}], ")), []string{"got slo is taken away, tenant is taken away", "medium"}},
		"a harmless relabelling":     {prometheus(edit("alerting: {", "alerting: {alert_relabel_configs: [{regex: replica, action: labeldrop}], ")), []string{""}},
		"no rules":                   {map[string]string{"rules/slo.yml": ""}, []string{"missing: api/availability alert of the fast tier", "missing: api/availability alert of the medium tier", "no file matches"}},
		"rules outside":              {prometheus(edit("rules/*.yml", "../rules/*.yml")), []string{"unchecked: api/availability alert of the fast tier", "unchecked", "leaves the scanned directory"}},
		"absolute rules":             {prometheus(edit("rules/*.yml", "/srv/*.yml")), []string{"unchecked", "unchecked", "no Compose file mounts it"}},
		"mounted rules":              {prometheus(edit("rules/*.yml", "/etc/prometheus/rules/*.yml")), []string{""}},
		"rules of broken YAML":       {map[string]string{"rules/slo.yml": "groups: [{"}, []string{"unchecked", "unchecked", "rules/slo.yml"}},
		"rules of nothing":           {map[string]string{"rules/slo.yml": "\n"}, []string{"unchecked", "unchecked", "it is empty"}},
		"a YAML bomb":                {map[string]string{"rules/slo.yml": hugeYAML()}, []string{"unchecked", "unchecked", "nodes once aliases are written out"}},
		"a file of 11 MiB":           {map[string]string{"rules/slo.yml": strings.Repeat("#", 11<<20)}, []string{"unchecked", "unchecked", "larger than 10 MiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := availability(t)
			c.Services[0].Targets = []string{"http://api:4001/metrics", "127.0.0.1:4001"}
			r, _ := PrometheusFile(c, world(t, test.files), "prometheus.yml", Deployment{Compose: []string{"compose.yaml"}})
			got := notSame(r)
			if len(got) != len(test.want) {
				t.Fatalf("got\n%s\nwant %q", strings.Join(got, "\n"), test.want)
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) || want == "" && got[i] != "" {
					t.Errorf("got %s\nwant %s", got[i], want)
				}
			}
		})
	}
}

func hugeYAML() string {
	text := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		before := string(c - 1)
		text += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+before+",", 9) + "*" + before + "]\n"
	}
	return text
}

func TestUnreadablePrometheusIsUnchecked(t *testing.T) {
	for name, text := range map[string]string{"missing": "", "list": "[1]", "torn": "global: {", "tab": "\t", "deep": strings.Repeat("[", 5000), "cycle": "a: &a [*a]"} {
		r, _ := PrometheusFile(availability(t), world(t, map[string]string{"prometheus.yml": text}), "prometheus.yml", Deployment{})
		if _, compared := r.Share(); compared != 0 || len(r.Facts) != 2 || len(r.Findings) != 1 || r.Findings[0].Rule != "SB074" {
			t.Errorf("%s:\n%s", name, facts(r))
		}
	}
	r, _ := PrometheusFile(availability(t), world(t, nil), "rules", Deployment{})
	if len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Message, "not a regular file") {
		t.Errorf("a directory:\n%s", facts(r))
	}
}

// A link that leaves the directory is not followed, whatever it promises.
func TestRulesBehindALinkOutside(t *testing.T) {
	outside, inside := t.TempDir(), t.TempDir()
	rules, err := os.ReadFile("../rulegen/testdata/availability.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{filepath.Join(outside, "slo.yml"): rules, filepath.Join(inside, "prometheus.yml"): []byte(soundPrometheus)} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(inside, "rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "slo.yml"), filepath.Join(inside, "rules", "slo.yml")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	r, _ := PrometheusFile(availability(t), root.FS(), "prometheus.yml", Deployment{})
	if !strings.Contains(facts(r), "escapes") || !strings.Contains(facts(r), "unchecked: api/availability alert of the fast tier") {
		t.Errorf("got\n%s", facts(r))
	}
}

func TestComposeAndContract(t *testing.T) {
	c := availability(t)
	c.Services = append(c.Services, Service{Name: "billing", Pos: slo.Position{File: "compose.yaml", Line: 9}})
	ghost := c.Objectives[0]
	ghost.Service = "ghost"
	c.Objectives = append(c.Objectives, ghost)
	r := Compose(c)
	if drifting, compared := r.Share(); drifting != 1 || compared != 2 {
		t.Errorf("%d of %d:\n%s", drifting, compared, facts(r))
	}
	if got := facts(r); !strings.Contains(got, "missing: ghost/") || !strings.Contains(got, "compose.yaml:9: service billing has no SLO") {
		t.Errorf("got\n%s", got)
	}
}
