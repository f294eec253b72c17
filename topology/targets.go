package topology

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/slowburn/slowburn/slo"
)

const (
	labelService = "slowburn.service"
	labelSource  = "slowburn.source"
)

// labels are a service's labels with those of its label files under them.
func (s *scan) labels(c types.ServiceConfig, pos slo.Position) map[string]string {
	all := map[string]string{}
	for _, file := range c.LabelFiles {
		text, err := s.root.read(file)
		if err != nil {
			s.unreadable(pos, file, err)
			continue
		}
		vars, _ := s.parseEnv(file, text, s.env)
		maps.Copy(all, vars)
	}
	maps.Copy(all, c.Labels)
	for _, file := range c.EnvFiles {
		if _, _, err := s.root.locate(file.Path); errors.Is(err, errOutside) {
			s.report(slo.Finding{Rule: ruleOutside, Severity: slo.Warning, Pos: pos, Message: "env_file " + quote(s.shown(file.Path)) + " " + err.Error() + " and is not read", Remedy: "move it inside"})
		}
	}
	return all
}

// ports lists published ports, then those only exposed.
func ports(c types.ServiceConfig) (list []Port) {
	for _, p := range c.Ports {
		list = append(list, unfold(p)...)
	}
	return append(list, exposed(c.Expose)...)
}

// exposed reads ports and ranges such as 80, 53/udp or 8000-8010, of Compose's expose and of a Dockerfile's
// EXPOSE. A malformed one is left out: Compose has judged its own, and a variable in the other is unknown.
func exposed(specs []string) (list []Port) {
	for _, spec := range specs {
		number, proto, _ := strings.Cut(spec, "/")
		low, high, isRange := strings.Cut(number, "-")
		if !isRange {
			high = low
		}
		first, err1 := strconv.ParseUint(low, 10, 16)
		last, err2 := strconv.ParseUint(high, 10, 16)
		if err1 != nil || err2 != nil || first == 0 {
			continue
		}
		for n := int(first); n <= int(last) && len(list) < maxPorts; n++ {
			list = append(list, Port{Container: n, Protocol: protocol(proto)})
		}
	}
	return list
}

// maxPorts bounds what one list of exposed ports may hold: every port there is.
const maxPorts = 65535

func protocol(p string) string {
	if p == "" {
		return "tcp"
	}
	return strings.ToLower(p)
}

// wish is what a service's labels say of scraping; slowburn.* wins over prometheus.io/*.
type wish struct {
	scrape  string // "", true or false
	port    int    // 0: not said
	path    string
	scheme  string
	source  string // the label that decided
	invalid bool
}

// label finds what is said under either spelling.
func label(labels map[string]string, what string) (name, value string) {
	for _, prefix := range []string{"slowburn.", "prometheus.io/", "prometheus.io."} {
		if v, ok := labels[prefix+what]; ok {
			return prefix + what, strings.TrimSpace(v)
		}
	}
	return "", ""
}

func (s *scan) wish(service Service) wish {
	w := wish{path: "/metrics", scheme: "http"}
	for _, what := range []string{"scrape", "port", "path", "scheme"} {
		name, value := label(service.Labels, what)
		if name == "" {
			continue
		}
		if remedy := w.set(what, name, value); remedy != "" {
			w.invalid = true
			s.badLabel(service.Pos, name, value, remedy)
		}
	}
	return w
}

// set takes one label's value, or says what the value should be.
func (w *wish) set(what, name, value string) (remedy string) {
	switch what {
	case "scrape":
		yes, err := strconv.ParseBool(value)
		if err != nil {
			return "write true or false"
		}
		w.scrape = strconv.FormatBool(yes)
	case "port":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil || n == 0 {
			return "write the container's port, 1 to 65535"
		}
		w.port, w.source = int(n), "label "+name
	case "path":
		if u, err := url.ParseRequestURI(value); err != nil || !strings.HasPrefix(value, "/") || u.Host != "" {
			return "write a path that begins with /"
		}
		w.path = value
	case "scheme":
		if value != "http" && value != "https" {
			return "write http or https"
		}
		w.scheme = value
	}
	return ""
}

func (s *scan) badLabel(pos slo.Position, name, value, remedy string) {
	s.report(slo.Finding{Rule: ruleLabel, Severity: slo.Warning, Pos: pos, Message: fmt.Sprintf("label %s has the value %s", name, quote(value)), Remedy: remedy})
}

// targets says where a service is scraped: at the port its labels name, else at the only TCP port it has.
func (s *scan) targets(service Service, hostNetwork bool) []Target {
	w := s.wish(service)
	if w.scrape == "false" || w.invalid {
		return nil
	}
	tcp := slices.DeleteFunc(slices.Clone(service.Ports), func(p Port) bool { return p.Protocol != "tcp" })
	if w.port == 0 && !s.guess(service, tcp, &w) {
		return nil
	}
	var list []Target
	for _, address := range addresses(service, tcp, w.port, hostNetwork) {
		list = append(list, Target{Service: service.Known(), Address: address, Path: w.path, Scheme: w.scheme, Source: w.source})
	}
	return list
}

// guess takes the only port there is, published ones first, or reports that there is none or a choice.
func (s *scan) guess(service Service, tcp []Port, w *wish) bool {
	published := containerPorts(slices.DeleteFunc(slices.Clone(tcp), func(p Port) bool { return p.Published == "" }))
	all := containerPorts(tcp)
	switch {
	case len(published) == 1:
		w.port, w.source = published[0], "the only published port"
		return true
	case len(published) == 0 && len(all) == 1:
		w.port, w.source = all[0], "the only exposed port"
		return true
	}
	f := slo.Finding{Rule: ruleTarget, Severity: slo.Note, Pos: service.Pos, Message: fmt.Sprintf("service %s has no port to scrape", quote(service.Name)),
		Remedy: `set the label slowburn.port, or slowburn.scrape: "false"`}
	if len(all) > 1 {
		f.Message = fmt.Sprintf("service %s has %d ports (%s), and none is said to be scraped", quote(service.Name), len(all), some(all))
	}
	if len(all) > 1 && len(service.Sources) > 0 || w.scrape == "true" {
		f.Severity = slo.Warning
	}
	s.report(f)
	return false
}

func containerPorts(ports []Port) (list []int) {
	for _, p := range ports {
		list = append(list, p.Container)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func some(ports []int) string {
	text := strings.Trim(fmt.Sprint(ports[:min(4, len(ports))]), "[]")
	text = strings.ReplaceAll(text, " ", ", ")
	if len(ports) > 4 {
		text += ", …"
	}
	return text
}

// addresses are where a container's port can be reached: on the host for each published one, else by the
// service's name. A label that names a published port instead of the container's means that one.
func addresses(service Service, tcp []Port, port int, hostNetwork bool) (list []string) {
	text := strconv.Itoa(port)
	if hostNetwork {
		return []string{net.JoinHostPort("127.0.0.1", text)}
	}
	known := slices.ContainsFunc(tcp, func(p Port) bool { return p.Container == port })
	for _, p := range tcp {
		if p.Container == port || !known && p.Published == text {
			list = append(list, published(p, service.Replicas)...)
		}
	}
	if len(list) == 0 {
		return []string{net.JoinHostPort(service.Name, text)}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// published lists the host's addresses of a port. A range is one for each replica when it has just as many;
// otherwise the engine chooses and the address can't be known.
func published(p Port, replicas int) (list []string) {
	low, high, isRange := strings.Cut(p.Published, "-")
	if !isRange {
		high = low
	}
	first, err1 := strconv.Atoi(low)
	last, err2 := strconv.Atoi(high)
	if err1 != nil || err2 != nil || first == 0 || isRange && last-first+1 != replicas {
		return nil
	}
	for n := first; n <= last; n++ {
		list = append(list, net.JoinHostPort(hostOf(p.HostIP), strconv.Itoa(n)))
	}
	return list
}

// hostOf is an address to reach a binding at: the loopback for one that listens everywhere.
func hostOf(ip string) string {
	addr, err := netip.ParseAddr(strings.Trim(ip, "[]"))
	if err != nil || addr.IsUnspecified() {
		return "127.0.0.1"
	}
	return addr.String()
}
