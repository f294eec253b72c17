package drift

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	promconfig "github.com/prometheus/prometheus/config"

	"github.com/slowburn/slowburn/slo"
)

// job is one entry of scrape_configs.
type job struct {
	name        string
	node        *yaml.Node
	owner       *prometheus
	doc         *document // it stands in
	pos         slo.Position
	interval    time.Duration
	known       bool // the interval can be read
	intervalPos slo.Position
}

// scrapes says whether a job scrapes a service, and how that is known.
type scrapes struct {
	verdict Verdict
	how     string
}

// jobs lists scrape_configs and those of the scrape_config_files, and judges their timeouts.
func (p *prometheus) jobs(global time.Duration, globalOK bool) []job {
	all := p.jobsOf(p.doc, items(p.at("scrape_configs").value), global, globalOK)
	if p.fsys == nil {
		return all // a running one shows its jobs through its targets
	}
	for _, n := range items(p.at("scrape_config_files").value) {
		files, err := p.glob(text(n))
		if err != nil {
			p.note(ruleUnreadProm, slo.Error, p.doc.position(n), fmt.Sprintf("scrape configurations %q are not compared: %v", text(n), err), "move them inside the scanned directory")
		}
		for _, file := range files {
			doc, f := readDocument(p.fsys, file)
			if f != nil {
				p.Findings = append(p.Findings, f.finding(ruleUnreadProm, "mend the file"))
				continue
			}
			for _, tree := range doc.trees {
				all = append(all, p.jobsOf(doc, items(find(tree, "scrape_configs").value), global, globalOK)...)
			}
		}
	}
	return all
}

func (p *prometheus) jobsOf(doc *document, nodes []*yaml.Node, global time.Duration, globalOK bool) []job {
	var all []job
	for _, n := range nodes {
		name := find(n, "job_name")
		j := job{name: text(name.value), node: n, owner: p, doc: doc, pos: doc.position(cmp.Or(name.key, n))}
		interval := find(n, "scrape_interval")
		j.interval, j.known = p.duration(interval, global)
		j.known = j.known && (globalOK || interval.value != nil)
		j.intervalPos = doc.position(cmp.Or(interval.key, p.at("global", "scrape_interval").key, name.key, n))
		p.timeout(j)
		all = append(all, j)
	}
	return all
}

// timeout reports a scrape that may take longer than its interval: Prometheus refuses such a configuration. A timeout
// that only the defaults make too long is cut by Prometheus itself.
func (p *prometheus) timeout(j job) {
	e := find(j.node, "scrape_timeout")
	if e.value == nil {
		e = p.at("global", "scrape_timeout")
	}
	d, ok := p.duration(e, min(time.Duration(promconfig.DefaultGlobalConfig.ScrapeTimeout), j.interval))
	if ok && j.known && d > j.interval && find(j.node, "scrape_timeout").value != nil {
		p.note(ruleInterval, slo.Error, j.doc.position(e.key), fmt.Sprintf("job %s: scrape_timeout %s is longer than scrape_interval %s: Prometheus refuses it", j.name, d, j.interval), "shorten the timeout")
	}
}

// covers says whether the job has a target that is the service's.
func (j job) covers(s Service) scrapes {
	best := scrapes{verdict: Missing}
	consider := func(next scrapes) {
		if rank(next.verdict) > rank(best.verdict) {
			best = next
		}
	}
	for _, e := range pairs(j.node) {
		switch key := e.key.Value; {
		case key == "static_configs":
			for _, n := range items(e.value) {
				consider(j.static(n, s))
			}
		case key == "dns_sd_configs":
			consider(j.dns(e.value, s))
		case key == "file_sd_configs":
			consider(j.files(e.value, s))
		case key == "docker_sd_configs" || key == "dockerswarm_sd_configs":
			consider(j.docker())
		case strings.HasSuffix(key, "_sd_configs") && len(items(e.value)) > 0:
			consider(scrapes{Unchecked, fmt.Sprintf("job %s finds its targets by %s, which can't be followed here", j.name, key)})
		}
	}
	return best
}

// static compares one group of targets.
func (j job) static(n *yaml.Node, s Service) scrapes {
	targets := texts(find(n, "targets").value)
	for _, target := range targets {
		if hits(target, s) {
			return scrapes{Same, "job " + j.name}
		}
	}
	claims := text(find(n, "labels", "service").value) == s.Name || j.name == s.Name
	switch {
	case !claims || len(targets) == 0:
		return scrapes{verdict: Missing}
	case len(s.Targets) == 0:
		return scrapes{Same, "job " + j.name + ", by its name or label"}
	}
	return scrapes{Differs, fmt.Sprintf("job %s scrapes %s, and the service is at %s", j.name, strings.Join(targets, ", "), strings.Join(s.Targets, ", "))}
}

// hits reports whether a target is the service's: by one of its addresses, or by its name on the Compose network.
func hits(target string, s Service) bool {
	target = bare(target)
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		host = target
	}
	ports := map[string]bool{}
	for _, known := range s.Targets {
		known = bare(known)
		if known == target {
			return true
		}
		h, p, err := net.SplitHostPort(known)
		if err != nil {
			continue
		}
		ports[p] = true
		if p == port && loopback(h) && loopback(host) {
			return true
		}
	}
	return host == s.Name && (len(ports) == 0 || port == "" || ports[port])
}

// bare takes the scheme and path off an address.
func bare(address string) string {
	if _, rest, found := strings.Cut(address, "://"); found {
		address = rest
	}
	address, _, _ = strings.Cut(address, "/")
	return address
}

func loopback(host string) bool {
	return slices.Contains([]string{"localhost", "127.0.0.1", "0.0.0.0", "::1", "host.docker.internal", ""}, host)
}

func (j job) dns(n *yaml.Node, s Service) scrapes {
	for _, c := range items(n) {
		for _, name := range texts(find(c, "names").value) {
			if host := strings.TrimPrefix(name, "tasks."); host == s.Name || strings.HasPrefix(host, s.Name+".") {
				return scrapes{Same, "job " + j.name + ", by DNS name " + name}
			}
		}
	}
	return scrapes{verdict: Missing}
}

// files compares the targets of service discovery files.
func (j job) files(n *yaml.Node, s Service) scrapes {
	if j.owner.fsys == nil {
		return scrapes{Unchecked, "job " + j.name + " finds its targets in files of another machine"}
	}
	best := scrapes{verdict: Missing}
	for _, c := range items(n) {
		for _, pattern := range texts(find(c, "files").value) {
			matched, err := j.owner.glob(pattern)
			if err != nil || len(matched) == 0 && withoutGlob(pattern) {
				best = scrapes{Unchecked, fmt.Sprintf("job %s finds its targets in %s, which can't be read", j.name, pattern)}
			}
			for _, file := range matched {
				if next := j.listed(file, s); rank(next.verdict) > rank(best.verdict) {
					best = next
				}
			}
		}
	}
	return best
}

// listed reads one service discovery file, which is a list in JSON or YAML.
func (j job) listed(file string, s Service) scrapes {
	read := readForeign(j.owner.fsys, file, maxFile)
	var groups []struct {
		Targets []string          `yaml:"targets"`
		Labels  map[string]string `yaml:"labels"`
	}
	if read.Err != nil || yaml.Unmarshal(read.Content, &groups) != nil {
		return scrapes{Unchecked, fmt.Sprintf("job %s finds its targets in %s, which can't be read", j.name, file)}
	}
	for _, g := range groups {
		for _, target := range g.Targets {
			if hits(target, s) || g.Labels["service"] == s.Name && len(s.Targets) == 0 {
				return scrapes{Same, "job " + j.name + ", by " + file}
			}
		}
	}
	return scrapes{verdict: Missing}
}

// docker discovery finds every container, unless relabelling drops some, which depends on labels that only the engine knows.
func (j job) docker() scrapes {
	for _, r := range items(find(j.node, "relabel_configs").value) {
		if action := text(find(r, "action").value); strings.HasPrefix(action, "keep") || strings.HasPrefix(action, "drop") {
			return scrapes{Unchecked, "job " + j.name + " finds containers, and keeps some of them by relabelling"}
		}
	}
	return scrapes{Same, "job " + j.name + ", by Docker discovery"}
}
