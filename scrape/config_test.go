package scrape

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
)

func TestLimitsAreOnUnlessWritten(t *testing.T) {
	for _, row := range []struct {
		what, text     string
		samples, names uint
		body           int64
	}{
		{"silent", "scrape_configs: [{job_name: a}]", SampleLimit, LabelNameLengthLimit, BodySizeLimit},
		{"written", "scrape_configs: [{job_name: a, sample_limit: 7, body_size_limit: 1KB}]", 7, LabelNameLengthLimit, 1024},
		{"off", "scrape_configs: [{job_name: a, sample_limit: 0, body_size_limit: 0}]", 0, LabelNameLengthLimit, 0},
		{"global", "global: {sample_limit: 9}\nscrape_configs: [{job_name: a}]", 9, LabelNameLengthLimit, BodySizeLimit},
		{"globally off", "global: {label_name_length_limit: 0}\nscrape_configs: [{job_name: a}]", SampleLimit, 0, BodySizeLimit},
		{"of another job", "scrape_configs: [{job_name: a}, {job_name: b, sample_limit: 0}]", SampleLimit, LabelNameLengthLimit, BodySizeLimit},
	} {
		c, err := Parse("prometheus.yml", []byte(row.text))
		if err != nil {
			t.Errorf("%s: %v", row.what, err)
			continue
		}
		job := c.Upstream().ScrapeConfigs[0]
		if job.SampleLimit != row.samples || job.LabelNameLengthLimit != row.names || int64(job.BodySizeLimit) != row.body {
			t.Errorf("%s: %d %d %d", row.what, job.SampleLimit, job.LabelNameLengthLimit, job.BodySizeLimit)
		}
		if job.LabelLimit != LabelLimit || job.LabelValueLengthLimit != LabelValueLengthLimit {
			t.Errorf("%s: %d %d", row.what, job.LabelLimit, job.LabelValueLengthLimit)
		}
	}
}

func TestFaultsStandAtTheirLine(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"scrape_configs:\n- job_name: a\n  scrap_interval: 5s\n", "prometheus.yml:3: field scrap_interval not found"},
		{"scrape_configs:\n- job_name: a\n  foo: 1\n- job_name: b\n  bar: 1\n", "prometheus.yml:5: field bar not found"},
		{"scrape_configs:\n- job_name: a\n- job_name: b\n  scrape_interval: 5s\n  scrape_timeout: 10s\n", "prometheus.yml:3: scrape timeout greater"},
		{"scrape_configs:\n- job_name: a\n- job_name: a\n", "prometheus.yml:2: found multiple scrape configs"},
		{"scrape_configs:\n- job_name: [\n", "prometheus.yml:"},
		{"scrape_configs:\n- job_name: a\n  kubernetes_sd_configs: []\n", "prometheus.yml:3: field kubernetes_sd_configs not found"},
		{"scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['http://x']}]\n", `"http://x" is not a valid hostname`},
	} {
		_, err := Parse("prometheus.yml", []byte(row.text))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q:\n got %v\nwant %s", row.text, err, row.want)
		}
	}
	if _, err := Parse("p", []byte("scrape_configs:\n- job_name: a\n  foo: 1\n- job_name: b\n  bar: 1\n")); strings.Count(err.Error(), "p:") != 2 {
		t.Errorf("not all faults: %v", err)
	}
}

func TestIncludedFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"prometheus.yml": "scrape_config_files: ['more/*.yml']\nscrape_configs: [{job_name: a, file_sd_configs: [{files: [targets.json]}]}]\n",
		"more/b.yml":     "scrape_configs:\n- job_name: b\n  sample_limit: 0\n  dns_sd_configs: [{names: [_x._tcp.example.org]}]\n- job_name: c\n  docker_sd_configs: [{host: 'unix:///var/run/docker.sock'}]\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Jobs(), " "); got != "a b c" {
		t.Errorf("jobs %s", got)
	}
	for _, job := range c.Upstream().ScrapeConfigs {
		if want := map[string]uint{"a": SampleLimit, "b": 0, "c": SampleLimit}[job.JobName]; job.SampleLimit != want {
			t.Errorf("%s: sample limit %d, want %d", job.JobName, job.SampleLimit, want)
		}
	}
	s, err := New(newStore(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(c); err != nil {
		t.Error(err)
	}
	for _, missing := range []string{filepath.Join(dir, "none.yml"), dir, os.DevNull} {
		if _, err := Load(missing); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("load %s: %v", missing, err)
		}
	}
}

func TestStaticJobsAreChecked(t *testing.T) {
	one, err := Config{}.With(Static("a", time.Second, nil, "localhost:1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		job  *config.ScrapeConfig
		want string
	}{
		{Static("", time.Second, nil, "localhost:1"), "job without a name"},
		{Static("a", time.Second, nil, "localhost:1"), `job "a": there are two of this name`},
		{Static("b", time.Second, nil, "http://localhost:1/x"), `job "b": "http://localhost:1/x" is not a valid hostname`},
	} {
		if _, err := one.With(row.job); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("got %v, want %s", err, row.want)
		}
	}
	if got := one.String(); got != "a every 1s\n" {
		t.Errorf("%q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("scrape_configs: [{job_name: a, sample_limit: 0}]")
	f.Add("global: {sample_limit: 9}\nscrape_configs:\n- job_name: a\n  static_configs: [{targets: [x]}]\n")
	f.Add("scrape_configs: &a [*a]")
	f.Add("scrape_configs:\n- job_name: [\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "scrape_config_files") {
			t.Skip("reads files")
		}
		c, err := Parse("p", []byte(text))
		if err != nil && !strings.HasPrefix(err.Error(), "p:") {
			t.Errorf("error without a place: %v", err)
		}
		if err == nil {
			_ = c.Jobs()
		}
	})
}
