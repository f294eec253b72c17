package scrape

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.yaml.in/yaml/v3"
)

// Limits that every job gets unless its configuration, or the global section, names them. An explicit 0 switches one
// off, as in Prometheus; without limits one target can kill the process (FAULTS rows 2 and 8).
const (
	BodySizeLimit         = 10_000_000
	SampleLimit           = 50_000
	LabelLimit            = 128
	LabelNameLengthLimit  = 512
	LabelValueLengthLimit = 8192
)

// maxConfigSize bounds a configuration file.
const maxConfigSize = 16 << 20

// Config says what to scrape. The zero value scrapes nothing. It is never changed once made.
type Config struct {
	upstream *config.Config // nil for the zero value; its jobs are complete: validated, with defaults and limits
}

// Load reads a configuration file in Prometheus's own syntax, with the files that scrape_config_files names.
// Errors stand at file:line where the fault has a line.
func Load(path string) (Config, error) {
	content, err := readBounded(path)
	if err != nil {
		return Config{}, err
	}
	return parse(path, content, filepath.Dir(path))
}

// Parse is Load for content that does not stand in a file; name stands for the file in errors.
// Relative paths in it are relative to the working directory.
func Parse(name string, content []byte) (Config, error) { return parse(name, content, "") }

func parse(name string, content []byte, dir string) (Config, error) {
	cfg, err := config.Load(string(content), slog.New(slog.DiscardHandler))
	if err != nil {
		return Config{}, placed(name, content, err)
	}
	if dir != "" {
		cfg.SetDirectory(dir)
	}
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		return Config{}, placed(name, content, err)
	}
	explicit := explicitLimits(content)
	for _, more := range includedFiles(cfg) {
		text, err := readBounded(more)
		if err != nil {
			return Config{}, err
		}
		explicit.add(text)
	}
	for _, job := range jobs {
		limit(job, explicit)
	}
	cfg.ScrapeConfigs, cfg.ScrapeConfigFiles = jobs, nil // the files have been read
	return Config{upstream: cfg}, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read scrape configuration: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfigSize {
		return nil, fmt.Errorf("read scrape configuration %s: not a regular file of at most %d MiB", path, maxConfigSize>>20)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read scrape configuration: %w", err)
	}
	return content, nil
}

func includedFiles(cfg *config.Config) []string {
	var files []string
	for _, pattern := range cfg.ScrapeConfigFiles {
		matches, _ := filepath.Glob(pattern) // upstream has refused bad patterns
		files = append(files, matches...)
	}
	return files
}

// Static is a job whose targets are written down: host:port each. The labels go onto all of its series.
func Static(job string, interval time.Duration, labels map[string]string, targets ...string) *config.ScrapeConfig {
	sc := config.DefaultScrapeConfig
	sc.JobName = job
	sc.ScrapeInterval = model.Duration(interval)
	group := &targetgroup.Group{Labels: model.LabelSet{}, Source: "0"}
	for name, value := range labels {
		group.Labels[model.LabelName(name)] = model.LabelValue(value)
	}
	for _, t := range targets {
		group.Targets = append(group.Targets, model.LabelSet{model.AddressLabel: model.LabelValue(t)})
	}
	sc.ServiceDiscoveryConfigs = discovery.Configs{discovery.StaticConfig{group}}
	return &sc
}

// With is c and more jobs. Limits that a job leaves zero are set.
func (c Config) With(jobs ...*config.ScrapeConfig) (Config, error) {
	cfg, err := c.full()
	if err != nil {
		return Config{}, err
	}
	var errs []error
	for _, job := range jobs {
		own := *job
		errs = append(errs, checkJob(&own, cfg))
		limit(&own, nil)
		cfg.ScrapeConfigs = append(slices.Clip(cfg.ScrapeConfigs), &own)
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return Config{upstream: cfg}, nil
}

// checkJob does for a job made in Go what upstream's YAML decoder does for one that was read.
func checkJob(job *config.ScrapeConfig, among *config.Config) error {
	if job.JobName == "" {
		return errors.New("job without a name")
	}
	for _, other := range among.ScrapeConfigs {
		if other.JobName == job.JobName {
			return fmt.Errorf("job %q: there are two of this name", job.JobName)
		}
	}
	var errs []error
	for _, d := range job.ServiceDiscoveryConfigs {
		static, _ := d.(discovery.StaticConfig) // others bring their own checks
		for _, group := range static {
			for _, target := range group.Targets {
				if err := config.CheckTargetAddress(target[model.AddressLabel]); err != nil {
					errs = append(errs, fmt.Errorf("job %q: %w", job.JobName, err))
				}
			}
		}
	}
	return errors.Join(append(errs, job.HTTPClientConfig.Validate(), job.Validate(among.GlobalConfig))...)
}

// Jobs are the names of the jobs, sorted.
func (c Config) Jobs() []string {
	var names []string
	for _, job := range c.jobs() {
		names = append(names, job.JobName)
	}
	slices.Sort(names)
	return names
}

// Upstream is the configuration as web/api/v1 shows it. The caller must not change what it points to.
func (c Config) Upstream() config.Config {
	if c.upstream == nil {
		return config.DefaultConfig
	}
	return *c.upstream
}

func (c Config) jobs() []*config.ScrapeConfig {
	if c.upstream == nil {
		return nil
	}
	return c.upstream.ScrapeConfigs
}

// full is a copy for upstream's manager, which takes only what went through upstream's own loader.
func (c Config) full() (*config.Config, error) {
	if c.upstream != nil {
		own := *c.upstream
		return &own, nil
	}
	return config.Load("", slog.New(slog.DiscardHandler))
}

// discovery is what finds the targets of each job.
func (c Config) discovery() map[string]discovery.Configs {
	found := map[string]discovery.Configs{}
	for _, job := range c.jobs() {
		found[job.JobName] = job.ServiceDiscoveryConfigs
	}
	return found
}

// limit sets the limits that are zero and were not written.
func limit(job *config.ScrapeConfig, explicit explicit) {
	set := func(key string, field *uint, value uint) {
		if *field == 0 && !explicit.has(job.JobName, key) {
			*field = value
		}
	}
	if job.BodySizeLimit == 0 && !explicit.has(job.JobName, "body_size_limit") {
		job.BodySizeLimit = BodySizeLimit
	}
	set("sample_limit", &job.SampleLimit, SampleLimit)
	set("label_limit", &job.LabelLimit, LabelLimit)
	set("label_name_length_limit", &job.LabelNameLengthLimit, LabelNameLengthLimit)
	set("label_value_length_limit", &job.LabelValueLengthLimit, LabelValueLengthLimit)
}

// explicit holds the keys that were written, by job; those of the global section stand under the empty name,
// which no job can have.
type explicit map[string]map[string]bool

func (e explicit) has(job, key string) bool { return e[job][key] || e[""][key] }

// written is the part of a configuration that matters here.
type written struct {
	Global map[string]yaml.Node   `yaml:"global"`
	Jobs   []map[string]yaml.Node `yaml:"scrape_configs"`
}

func explicitLimits(content []byte) explicit {
	e := explicit{}
	e.add(content)
	return e
}

// add takes the keys from content, which upstream has parsed already: there is no error to report twice.
func (e explicit) add(content []byte) {
	var w written
	if yaml.Unmarshal(content, &w) != nil {
		return
	}
	for _, section := range append(w.Jobs, w.Global) {
		name := ""
		if node, ok := section["job_name"]; ok {
			name = node.Value
		}
		if e[name] == nil {
			e[name] = map[string]bool{}
		}
		for key := range section {
			e[name][key] = true
		}
	}
}

var (
	yamlLine  = regexp.MustCompile(`(?m)^\s*(?:yaml: )?line (\d+): (.*)$`)
	quotedJob = regexp.MustCompile(`job(?:[_ ]name)? "([^"]+)"`)
)

// placed puts upstream's error at file:line, one line per fault. An error that only names a job stands at its job_name.
func placed(name string, content []byte, err error) error {
	var faults []error
	for _, m := range yamlLine.FindAllStringSubmatch(err.Error(), -1) {
		faults = append(faults, fmt.Errorf("%s:%s: %s", name, m[1], m[2]))
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	if m := quotedJob.FindStringSubmatch(err.Error()); m != nil {
		if line := jobLine(content, m[1]); line > 0 {
			return fmt.Errorf("%s:%d: %w", name, line, err)
		}
	}
	return fmt.Errorf("%s: %w", name, err)
}

func jobLine(content []byte, job string) int {
	var w written
	if yaml.Unmarshal(content, &w) != nil {
		return 0
	}
	for _, section := range w.Jobs {
		if node := section["job_name"]; node.Value == job {
			return node.Line
		}
	}
	return 0
}

// String lists the jobs with their limits and intervals; it holds no secret.
func (c Config) String() string {
	var b strings.Builder
	for _, job := range slices.SortedFunc(slices.Values(c.jobs()), func(a, b *config.ScrapeConfig) int { return cmp.Compare(a.JobName, b.JobName) }) {
		fmt.Fprintf(&b, "%s every %s\n", job.JobName, job.ScrapeInterval)
	}
	return b.String()
}
