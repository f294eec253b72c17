package topology

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slowburn/slowburn/slo"
)

// FuzzDockerfile looks for a Dockerfile that panics the parser, or makes it say what can't be.
func FuzzDockerfile(f *testing.F) {
	for _, seed := range []string{"FROM node:18 AS a\nFROM a\n", "# escape=`\nARG V=1\nFROM x:${V:-2} `\n AS y\nRUN <<E\nE\n", "ARG A=\"a b\" B=$A\nFROM $B\nEXPOSE 1-3 9/udp\n", "FROM ${", "ONBUILD RUN <<-'X'\n\tX\n"} {
		f.Add(seed, "", "18")
	}
	f.Fuzz(func(t *testing.T, text, target, arg string) {
		stages, err := parseDockerfile(text, map[string]string{"V": arg})
		if err != nil {
			return
		}
		count := strings.Count(text, "\n") + 1
		for _, st := range stages {
			if st.line < 1 || st.line > count || len(st.image) > maxReference || (st.image == "") != (st.err != nil) {
				t.Errorf("stage %+v of %d lines", st, count)
			}
		}
		if o, err := base(stages, target, nil); err == nil {
			runtimeOf(o.image)
		}
	})
}

// FuzzScan looks for a Compose file that panics Scan, leads it outside, or gives it a fault without place,
// text or remedy.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		"services:\n  a: {image: 'node:18', ports: ['127.0.0.1:1:1', '3-900:3-900'], labels: {slowburn.port: '1'}}\n",
		"x: &x {image: x}\nservices:\n  a: {<<: *x, extends: b}\n  b: {<<: [*x], build: {context: ., dockerfile_inline: 'FROM x'}}\n",
		"include: [sub/c.yaml, {path: ../x, env_file: y}]\nservices:\n  a: {extends: {file: sub/c.yaml, service: s}}\n",
		"services:\n  a: {image: '${A:?no}$B', expose: [1-3/udp], volumes: ['./sub:/app'], deploy: {replicas: 2}, healthcheck: {test: x}}\n---\nname: y\n",
		"services: &s\n  a: *s\n", "version: '3'\nservices: {a: {image: x, ports: !override ['1'], profiles: [p]}}\n", "services:\n  a: 1\n  a: [2]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		for name, content := range map[string][]byte{"compose.yaml": text, "sub/c.yaml": []byte("services: {s: {image: x}}\n")} {
			if err := os.MkdirAll(filepath.Join(dir, path.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		top, err := Scan(context.Background(), dir, Options{Env: map[string]string{}})
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range top.Files {
			if file != "compose.yaml" && file != "sub/c.yaml" {
				t.Errorf("read %s", file)
			}
		}
		count := 1
		for _, breaks := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // all are line breaks to YAML 1.1
			count += strings.Count(string(text), breaks)
		}
		for _, finding := range top.Findings {
			if finding.Pos.File == "" || finding.Message == "" || finding.Remedy == "" || strings.ContainsAny(finding.String(), "\n\x1b") || finding.Pos.Line > count+1 {
				t.Errorf("finding %q", finding)
			}
			if finding.Severity == slo.Error && len(top.Services) > 0 {
				t.Errorf("half a topology beside %s", finding)
			}
		}
		for _, s := range top.Services {
			if s.Pos.Line == 0 || path.IsAbs(s.Build) || strings.HasPrefix(s.Build, "..") {
				t.Errorf("service %+v", s)
			}
		}
	})
}
