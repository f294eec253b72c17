package topology

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTargets shows where a service is scraped, and what is said when that can't be told. A row is the body
// of one service.
func TestTargets(t *testing.T) {
	for _, tt := range []struct{ name, service, want, finding string }{
		{"one published port", "{image: x, ports: ['127.0.0.1:4001:3000']}", "http 127.0.0.1:4001 /metrics (the only published port)", ""},
		{"published on all addresses", "{image: x, ports: ['0.0.0.0:4001:3000', '[::]:4001:3000']}", "http 127.0.0.1:4001 /metrics (the only published port)", ""},
		{"published on one address", "{image: x, ports: ['192.168.1.2:4001:3000']}", "http 192.168.1.2:4001 /metrics (the only published port)", ""},
		{"published on IPv6", "{image: x, ports: ['[::1]:4001:3000']}", "http [::1]:4001 /metrics (the only published port)", ""},
		{"long form", "{image: x, ports: [{target: 3000, published: '4001', host_ip: 127.0.0.1}]}", "http 127.0.0.1:4001 /metrics (the only published port)", ""},
		{"one published and one exposed", "{image: x, ports: ['4001:3000'], expose: ['9000']}", "http 127.0.0.1:4001 /metrics (the only published port)", ""},
		{"published where the engine likes", "{image: x, ports: ['3000']}", "http a:3000 /metrics (the only exposed port)", ""},
		{"exposed", "{image: x, expose: ['3000']}", "http a:3000 /metrics (the only exposed port)", ""},
		{"udp does not count", "{image: x, ports: ['53:53/udp', '4001:3000']}", "http 127.0.0.1:4001 /metrics (the only published port)", ""},
		{"a range for replicas", "{image: x, ports: ['8000-8001:3000'], scale: 2}", "http 127.0.0.1:8000 /metrics (the only published port)\nhttp 127.0.0.1:8001 /metrics (the only published port)", ""},
		{"a range to choose from", "{image: x, ports: ['8000-8001:3000']}", "http a:3000 /metrics (the only published port)", ""},
		{"host network", "{image: x, network_mode: host, expose: ['3000']}", "http 127.0.0.1:3000 /metrics (the only exposed port)", ""},
		{"prometheus.io", "{image: x, ports: ['4001:3000', '4002:9000'], labels: {prometheus.io/scrape: 'true', prometheus.io/port: '9000', prometheus.io/path: /m, prometheus.io/scheme: https}}", "https 127.0.0.1:4002 /m (label prometheus.io/port)", ""},
		{"slowburn wins", "{image: x, ports: ['4001:3000', '4002:9000'], labels: {prometheus.io/port: '9000', slowburn.port: 3000, slowburn.path: /m}}", "http 127.0.0.1:4001 /m (label slowburn.port)", ""},
		{"labels as a list", "{image: x, ports: ['4001:3000'], labels: [slowburn.path=/m]}", "http 127.0.0.1:4001 /m (the only published port)", ""},
		{"the label names a published port", "{image: x, ports: ['4001:3000'], labels: {slowburn.port: '4001'}}", "http 127.0.0.1:4001 /metrics (label slowburn.port)", ""},
		{"the label names a port not published", "{image: x, ports: ['4001:3000'], labels: {slowburn.port: '9000'}}", "http a:9000 /metrics (label slowburn.port)", ""},
		{"not to be scraped", "{image: x, ports: ['1:1', '2:2'], labels: {slowburn.scrape: 'false', prometheus.io/scrape: 'true'}}", "", ""},
		{"no port", "{image: x}", "", `note compose.yaml:2:3: service "a" has no port to scrape: set the label slowburn.port, or slowburn.scrape: "false" (SB049)`},
		{"no port, but scrape", "{image: x, labels: {slowburn.scrape: 'true'}}", "", `warning compose.yaml:2:3: service "a" has no port to scrape: set the label slowburn.port, or slowburn.scrape: "false" (SB049)`},
		{"several ports", "{image: x, ports: ['1:1', '2:2'], expose: [3-5]}", "", `note compose.yaml:2:3: service "a" has 5 ports (1, 2, 3, 4, …), and none is said to be scraped: set the label slowburn.port, or slowburn.scrape: "false" (SB049)`},
		{"bad labels, all of them", "{image: x, ports: ['1:1'], labels: {slowburn.scrape: si, slowburn.port: '70000', slowburn.path: m, slowburn.scheme: ftp}}", "", "" +
			"warning compose.yaml:2:3: label slowburn.path has the value \"m\": write a path that begins with / (SB050)\n" +
			"warning compose.yaml:2:3: label slowburn.port has the value \"70000\": write the container's port, 1 to 65535 (SB050)\n" +
			"warning compose.yaml:2:3: label slowburn.scheme has the value \"ftp\": write http or https (SB050)\n" +
			"warning compose.yaml:2:3: label slowburn.scrape has the value \"si\": write true or false (SB050)"},
		{"label file", "{image: x, ports: ['1:1', '2:2'], label_file: labels}", "http 127.0.0.1:2 /metrics (label slowburn.port)", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := scanned(t, world(t, "-- compose.yaml --\nservices:\n  a: "+tt.service+"\n-- labels --\nslowburn.port=2\n"), Options{})
			var got []string
			for _, target := range service(t, top, "a").Targets {
				got = append(got, target.Scheme+" "+target.Address+" "+target.Path+" ("+target.Source+")")
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.finding, strings.TrimSuffix(lines(top.Findings), "\n")); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestServiceOf shows whose a file is.
func TestServiceOf(t *testing.T) {
	top := scanned(t, world(t, `-- compose.yaml --
services:
  api: {build: services/api, expose: ['1']}
  worker: {build: services/api, expose: ['1']}
  admin: {build: services/api/admin, expose: ['1']}
  search: {image: "node:18.16-alpine", working_dir: /app, volumes: ["./services/search:/app", "./data:/var/lib/data", "vol:/x"], expose: ['1']}
  analytics: {image: "node:18.16-alpine", volumes: [{type: bind, source: ./services/analytics, target: /srv}], expose: ['1']}
  front: {build: {context: ., dockerfile: apps/front/Dockerfile}, expose: ['1']}
  back: {build: {context: ., dockerfile: apps/back/Dockerfile}, expose: ['1']}
  named: {image: x, labels: {slowburn.source: libs/named, slowburn.service: billing}, expose: ['1']}
  left: {build: left, profiles: [never]}
  a: {build: twins, expose: ['1']}
  b: {build: twins, expose: ['1']}
volumes: {vol: {}}
-- services/api/Dockerfile --
FROM node:18
-- services/api/admin/Dockerfile --
FROM node:18
-- services/search/x --
-- services/analytics/x --
-- data/x --
-- libs/named/x --
-- apps/front/Dockerfile --
FROM node:18
-- apps/back/Dockerfile --
FROM node:18
-- left/Dockerfile --
FROM x
-- twins/Dockerfile --
FROM x
`), Options{})
	for file, want := range map[string]string{
		"services/api/src/api.ts": "api", "./services/api/src/../x.ts": "api", "services/api": "api", "services/apiary/x.ts": "",
		"services/api/admin/x.ts": "admin", "services/search/src/s.ts": "search", "services/analytics/a.ts": "analytics", "data/x.ts": "",
		"apps/front/x.ts": "front", "apps/back/x.ts": "back", "packages/shared/x.ts": "", "libs/named/slo.ts": "billing",
		"left/x.ts": "left", "twins/x.ts": "", "../services/api/x.ts": "", "/services/api/x.ts": "",
	} {
		if got := top.ServiceOf(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	for name, want := range map[string]bool{"api": true, "named": true, "billing": true, "left": false, "": false} {
		if _, ok := top.Service(name); ok != want {
			t.Errorf("service %q found: %v", name, ok)
		}
	}
	want := "note compose.yaml:8:3: services back, front share the source directory \".\": a contract directly in it belongs to none of them"
	if !strings.Contains(lines(top.Findings), want) {
		t.Errorf("findings:\n%s", lines(top.Findings))
	}
}
