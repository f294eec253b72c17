package topology

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCompose shows which services a set of files makes: name, image or context, position.
func TestCompose(t *testing.T) {
	for _, tt := range []struct {
		name    string
		files   string
		options Options
		want    string
	}{
		{name: "image and build", want: "api build=services/api at compose.yaml:2:3\ndb image=postgres:16 at compose.yaml:4:3", files: `-- compose.yaml --
services:
  api:
    build: services/api
  db: {image: "postgres:16", labels: {slowburn.scrape: "false"}}
-- services/api/Dockerfile --
FROM node:18.16-alpine
EXPOSE 3000
`},
		{name: "old name, version, CRLF", want: "a image=x:1 at docker-compose.yml:3:3", files: "-- docker-compose.yml --\nversion: '3.8'\r\nservices:\r\n  a:\r\n    image: x:1\r\n    expose: ['80']\r\n"},
		{name: "override", want: "a image=x:2 at compose.yaml:2:3", files: `-- compose.yaml --
services:
  a: {image: "x:1", expose: ["80"]}
-- compose.override.yaml --
services:
  a: {image: "x:2"}
`},
		{name: "several files, named", want: "a image=x:3 at one.yaml:2:3", options: Options{Files: []string{"one.yaml", "sub/two.yaml"}}, files: `-- one.yaml --
services:
  a: {image: "x:1", expose: ["80"]}
-- sub/two.yaml --
services:
  a: {image: "x:3"}
`},
		{name: "COMPOSE_FILE", want: "a image=x:1 at deploy/c.yaml:2:3", options: Options{Env: map[string]string{"COMPOSE_FILE": "deploy/c.yaml"}}, files: `-- deploy/c.yaml --
services:
  a: {image: "x:1", expose: ["80"]}
`},
		{name: "reset and override tags", want: "a image=x:1 at compose.yaml:2:3 ports=[81]", files: `-- compose.yaml --
services:
  a: {image: "x:1", ports: ["8080:80", "9090:90"], healthcheck: {test: x}}
-- compose.override.yaml --
services:
  a:
    ports: !override ["8181:81"]
    healthcheck: !reset null
`},
		{name: "profiles active", want: "a image=x:1 at compose.yaml:2:3\nb image=x:2 at compose.yaml:3:3", options: Options{Profiles: []string{"debug"}}, files: `-- compose.yaml --
services:
  a: {image: "x:1", expose: ["80"]}
  b: {image: "x:2", expose: ["80"], profiles: [debug]}
`},
		{name: "COMPOSE_PROFILES", want: "b image=x:2 at compose.yaml:2:3", options: Options{Env: map[string]string{"COMPOSE_PROFILES": "other,debug"}}, files: `-- compose.yaml --
services:
  b: {image: "x:2", expose: ["80"], profiles: [debug]}
`},
		{name: "extends in one file and another, and on from there", want: "a image=base:1 at compose.yaml:2:3 ports=[80]\nb image=base:1 at compose.yaml:3:3 ports=[80]", files: `-- compose.yaml --
services:
  a: {extends: {file: sub/base.yaml, service: web}}
  b: {extends: a}
-- sub/base.yaml --
services:
  web: {extends: {file: ../deep/root.yaml, service: root}, image: "base:1"}
-- deep/root.yaml --
services:
  root: {image: "root:1", ports: ["80:80"]}
`},
		{name: "include, nested, with its own .env and project directory", want: "a image=x:1 at compose.yaml:5:3\nb image=b:7 build=team/src at team/compose.yaml:3:3\nc image=c:1 at team/more/c.yaml:2:3", files: `-- compose.yaml --
include:
  - team/compose.yaml
  - {path: other/empty.yaml, project_directory: other, env_file: other/vars}
services:
  a: {image: "x:1", expose: ["80"]}
-- team/compose.yaml --
include: [more/c.yaml]
services:
  b: {image: "b:${TAG}", build: {context: ./src}, expose: ["80"]}
-- team/src/Dockerfile --
FROM b
-- team/.env --
TAG=7
-- team/more/c.yaml --
services:
  c: {image: "c:1", expose: ["80"]}
-- other/vars --
X=1
-- other/empty.yaml --
volumes: {v: {}}
`},
		{name: "anchors and merge keys", want: "a image=x:1 at compose.yaml:4:3 ports=[80]\nb image=x:2 at compose.yaml:5:3 ports=[80]", files: `-- compose.yaml --
x-base: &base {image: "x:1", ports: ["8080-8081:80"]}
x-more: &more {labels: {slowburn.port: "80"}}
services:
  a: {<<: *base}
  b: {<<: [*base, *more], image: "x:2"}
`},
		{name: "variables", want: "a image=x:9-d at compose.yaml:2:3", options: Options{Env: map[string]string{"TAG": "9"}}, files: `-- compose.yaml --
services:
  a: {image: "x:${TAG:?set it}-${D:-d}", expose: ["80"], command: "echo $$HOME ${EMPTY:-}"}
`},
		{name: "several YAML documents", want: "a image=x:1 at compose.yaml:2:3\nb image=x:2 at compose.yaml:5:3", files: `-- compose.yaml --
services:
  a: {image: "x:1", expose: ["80"]}
---
services:
  b: {image: "x:2", expose: ["80"]}
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := quiet(t, scanned(t, world(t, tt.files), tt.options))
			if diff := cmp.Diff(tt.want, summary(top)); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
		})
	}
}

func summary(top *Topology) string {
	var all []string
	for _, s := range top.Services {
		line := s.Name
		if s.Image != "" {
			line += " image=" + s.Image
		}
		if s.Build != "" {
			line += " build=" + s.Build
		}
		line += " at " + s.Pos.String()
		if ports := containerPorts(s.Ports); len(ports) > 0 && s.Ports[0].Published != "" {
			line += " ports=[" + some(ports) + "]"
		}
		all = append(all, line)
	}
	return strings.Join(all, "\n")
}

// TestFaults shows what is said of faulty files: all of it, each with its place.
func TestFaults(t *testing.T) {
	for _, tt := range []struct{ name, files, want string }{
		{name: "no file", files: "-- README --\n", want: "note no Compose file in the directory: name one with --compose-file if there is one elsewhere (SB040)"},
		{name: "two files of default name", files: "-- compose.yaml --\nservices: {a: {image: x, expose: ['1']}}\n-- docker-compose.yml --\n", want: "warning docker-compose.yml: is not read, since compose.yaml stands beside it: remove one, or name both (SB040)"},
		{name: "syntax", files: "-- compose.yaml --\nservices:\n  a: b: c\n", want: "error compose.yaml:2:7: mapping values are not allowed in this context: mend the YAML (SB042)"},
		{name: "list at the top", files: "-- compose.yaml --\n- a\n", want: "error compose.yaml:1:1: the top level is not a mapping: write services: there (SB042)"},
		{name: "duplicate keys, all of them", files: "-- compose.yaml --\nservices:\n  a:\n    image: x\n    image: y\n  a: {image: z}\n", want: "error compose.yaml:4:5: key \"image\" already stands in line 3: remove one of the two (SB042)\n" +
			"error compose.yaml:5:3: key \"a\" already stands in line 2: remove one of the two (SB042)"},
		{name: "cyclic alias", files: "-- compose.yaml --\nservices: &s\n  a: *s\n", want: "error compose.yaml:2:6: alias *s stands inside its own anchor: break the cycle (SB042)"},
		{name: "variables, all of them", files: "-- compose.yaml --\nservices:\n  a:\n    image: ${IMG:?name an image}\n    hostname: ${H?}\n    command: ${1bad}\n    user: $U\n    expose: ['1']\n", want: "" +
			"error compose.yaml:3:12: required variable IMG is missing a value: name an image: set it in the environment or in .env; a literal dollar is written $$ (SB044)\n" +
			"error compose.yaml:4:15: required variable H is missing a value: set it in the environment or in .env; a literal dollar is written $$ (SB044)\n" +
			"error compose.yaml:5:14: \"${1bad}\" is not a valid interpolation: set it in the environment or in .env; a literal dollar is written $$ (SB044)\n" +
			"warning compose.yaml:6:11: variable U is not set and reads as empty: set it in the environment or in .env, or write ${U:-default} (SB045)"},
		{name: "schema and consistency, all of them", files: "-- compose.yaml --\nservices:\n  a: {image: x, prots: [1]}\n  b: {image: x, replicas: no}\n  c: {expose: ['1']}\n  d: {image: x, depends_on: [nobody]}\n  e: {image: x, depends_on: [c], ports: ['x:y']}\n", want: "" +
			"error compose.yaml:2:17: Compose refuses it: services.a.prots is not a key that Compose knows: correct it as the Compose specification says (SB046)\n" +
			"error compose.yaml:3:17: Compose refuses it: services.b.replicas is not a key that Compose knows: correct it as the Compose specification says (SB046)\n" +
			"error compose.yaml:4:3: Compose refuses it: service \"c\" has neither an image nor a build context specified: invalid compose project: correct it as the Compose specification says (SB046)\n" +
			"error compose.yaml:5:3: Compose refuses it: service \"d\" depends on undefined service \"nobody\": invalid compose project: correct it as the Compose specification says (SB046)\n" +
			"error compose.yaml:6:34: Compose refuses it: invalid containerPort: y"},
		{name: "outside, all of them", files: "-- compose.yaml --\ninclude:\n  - ../other.yaml\n  - oci://registry/x\n  - https://github.com/x/y.git\nservices:\n  a: {extends: {file: ../../x.yaml, service: b}}\n  b: {extends: {file: /etc/passwd, service: b}}\n  c: {extends: {file: missing.yaml, service: b}}\n", want: "" +
			"error compose.yaml:2:5: \"../other.yaml\" leaves the scanned directory: move it inside, or scan the directory that holds both (SB043)\n" +
			"error compose.yaml:3:5: \"oci://registry/x\" is remote, and nothing is fetched: keep a copy in the directory (SB043)\n" +
			"error compose.yaml:4:5: \"https://github.com/x/y.git\" is remote, and nothing is fetched: keep a copy in the directory (SB043)\n" +
			"error compose.yaml:6:23: \"../../x.yaml\" leaves the scanned directory: move it inside, or scan the directory that holds both (SB043)\n" +
			"error compose.yaml:7:23: \"/etc/passwd\" leaves the scanned directory: move it inside, or scan the directory that holds both (SB043)\n" +
			"error compose.yaml:8:23: \"missing.yaml\" does not exist: correct the name or the file (SB041)"},
		{name: "env file and context outside", files: "-- compose.yaml --\nservices:\n  a: {image: x, env_file: ../secret.env, label_file: [../l], expose: ['1']}\n  b: {build: ../b, expose: ['1']}\n", want: "" +
			"error compose.yaml:2:3: \"../l\" leaves the scanned directory: move it inside, or scan the directory that holds both (SB043)\n" +
			"warning compose.yaml:2:3: env_file \"../secret.env\" leaves the scanned directory and is not read: move it inside (SB043)\n" +
			"warning compose.yaml:3:3: build context \"../b\" of service \"b\" leaves the scanned directory: scan a directory that holds it; its source is not read (SB043)"},
		{name: "faults of every kind at once", files: "-- compose.yaml --\ninclude: [../x.yaml]\nservices:\n  a: {image: '${I:?}', image: y}\n  b: {image: x, depends_on: [fromx], prots: 1}\n  c: {extends: {file: /x, service: y}}\n", want: "" +
			"error compose.yaml:1:11: \"../x.yaml\" leaves the scanned directory: move it inside, or scan the directory that holds both (SB043)\n" +
			"error compose.yaml:3:14: required variable I is missing a value: set it in the environment or in .env; a literal dollar is written $$ (SB044)\n" +
			"error compose.yaml:3:24: key \"image\" already stands in line 3: remove one of the two (SB042)\n" +
			"error compose.yaml:4:38: Compose refuses it: services.b.prots is not a key that Compose knows: correct it as the Compose specification says (SB046)\n" +
			"error compose.yaml:5:23: \"/x\" leaves the scanned directory: move it inside, or scan the directory that holds both (SB043)"},
		{name: "fault in an included file", files: "-- compose.yaml --\ninclude: [sub/c.yaml]\n-- sub/c.yaml --\nservices:\n  a: {image: x, image: y}\n", want: "error sub/c.yaml:2:17: key \"image\" already stands in line 2: remove one of the two (SB042)"},
		{name: "include cycle", files: "-- compose.yaml --\ninclude: [a.yaml]\n-- a.yaml --\ninclude: [compose.yaml]\n", want: "error a.yaml:1:11: include cycle: compose.yaml includes a.yaml includes compose.yaml: break the cycle (SB046)"},
		{name: "extends cycle", files: "-- compose.yaml --\nservices:\n  a: {extends: b}\n  b: {extends: a}\n", want: "error compose.yaml:2:7: Compose refuses it: Circular reference:"},
		{name: "profile not active", files: "-- compose.yaml --\nservices:\n  a: {image: x, profiles: [p, q]}\n", want: "note compose.yaml:2:3: service \"a\" is left out: none of its profiles (p, q) is active: activate one with --profile to count it in (SB051)"},
		{name: "malformed .nvmrc is nobody's fault, malformed package.json is", files: "-- compose.yaml --\nservices:\n  a: {build: a, expose: ['1']}\n-- a/Dockerfile --\nFROM node:lts\n-- a/package.json --\n{\n-- a/.nvmrc --\nlts/*\n", want: "warning a/package.json: engines.node is unknown: unexpected end of JSON input: mend the JSON (SB053)"},
		{name: "Dockerfile missing, malformed, stage unknown, ARG without value", files: "-- compose.yaml --\nservices:\n  a: {build: a, expose: ['1']}\n  b: {build: b, expose: ['1']}\n  c: {build: {context: b, dockerfile: ok, target: nope}, expose: ['1']}\n  d: {build: {context: b, dockerfile: arg}, expose: ['1']}\n-- a/x --\n-- b/Dockerfile --\nFROM a b\n-- b/ok --\nFROM x AS y\n-- b/arg --\nARG V\nFROM node:$V\n", want: "" +
			"warning b/Dockerfile:1: base image of service \"b\" is unknown: FROM takes an image and at most AS with a name: correct the Dockerfile, or set build.args or build.target (SB047)\n" +
			"warning b/arg:2: base image of service \"d\" is unknown: ARG V has no value: correct the Dockerfile, or set build.args or build.target (SB048)\n" +
			"warning b/ok: base image of service \"c\" is unknown: no stage \"nope\": correct the Dockerfile, or set build.args or build.target (SB048)\n" +
			"warning compose.yaml:2:3: Dockerfile \"a/Dockerfile\" of service \"a\" does not exist: correct build.dockerfile (SB047)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := world(t, tt.files)
			top := scanned(t, dir, Options{})
			got := strings.TrimSuffix(lines(top.Findings), "\n")
			compareLines(t, tt.want, got)
			if strings.Contains(tt.want, "error ") && len(top.Services) > 0 {
				t.Errorf("half a topology: %s", summary(top))
			}
		})
	}
}

// compareLines wants each line to begin as told: upstream's wording after that may change.
func compareLines(t *testing.T, want, got string) {
	t.Helper()
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || !strings.HasPrefix(g[i], w[i]) {
			t.Fatalf("line %d differs\nwant:\n%s\ngot:\n%s", i+1, want, got)
		}
	}
}

// TestShop reads the world that the whole project is shown on.
func TestShop(t *testing.T) {
	top := quiet(t, scanned(t, filepath.Join("..", "fixtures", "shop"), Options{}))
	var got []string
	for _, s := range top.Services {
		got = append(got, s.Name+" "+s.Build+" "+s.Runtime.Name+" "+s.Runtime.Version+" "+s.Targets[0].Address)
		if owner := top.ServiceOf(s.Build + "/src/main.ts"); owner != s.Name {
			t.Errorf("source of %s belongs to %q", s.Name, owner)
		}
	}
	want := []string{"analytics services/analytics node 18.16 127.0.0.1:4003", "api services/api node 18.16 127.0.0.1:4001",
		"billing services/billing node 18.16 127.0.0.1:4004", "search services/search node 18.16 127.0.0.1:4002"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}
