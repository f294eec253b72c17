package topology

import (
	"strconv"
	"strings"
	"testing"
)

// TestBase shows what a build starts from: Dockerfile in, image and line out.
func TestBase(t *testing.T) {
	for _, tt := range []struct {
		name, text, target string
		args, contexts     map[string]string
		want               string
	}{
		{name: "plain", text: "FROM node:18.16-alpine\n", want: "node:18.16-alpine:1"},
		{name: "lower case, tab, no newline at the end", text: "from\tnode", want: "node:1"},
		{name: "byte order mark and CRLF", text: "\ufeff# x\r\nFROM node:18\r\n", want: "node:18:2"},
		{name: "last stage", text: "FROM golang AS build\nFROM alpine:3.18\nCOPY --from=build /a /a\n", want: "alpine:3.18:2"},
		{name: "through stages", text: "FROM node:18 AS Base\nRUN x\nFROM base as deps\nFROM deps\n", want: "node:18:1"},
		{name: "a stage later of that name is not meant", text: "FROM node\nFROM x AS node\nFROM node\n", want: "x:2"},
		{name: "a stage named as its own image", text: "FROM node AS node\n", want: "node:1"},
		{name: "target by name", text: "FROM a AS dev\nFROM b AS prod\n", target: "DEV", want: "a:1"},
		{name: "target by number", text: "FROM a\nFROM b\n", target: "0", want: "a:1"},
		{name: "target unknown", text: "FROM a\n", target: "x", want: `no stage "x"`},
		{name: "platform flag", text: "FROM --platform=$BUILDPLATFORM node:20 AS x\n", want: "node:20:1"},
		{name: "ARG with default", text: "ARG V=18.16 W=x\nFROM node:${V}-alpine\n", want: "node:18.16-alpine:2"},
		{name: "ARG of ARG, quoted", text: "ARG V=\"18\"\nARG I='node':$V\nARG J=node:${V}\nFROM $J\n", want: "node:18:4"},
		{name: "build.args win", text: "ARG V=18\nFROM node:$V\n", args: map[string]string{"V": "20"}, want: "node:20:2"},
		{name: "build.args without ARG are nothing", text: "FROM node:${V}\n", args: map[string]string{"V": "20"}, want: "ARG V has no value"},
		{name: "ARG inside a stage is not for FROM", text: "FROM a AS x\nARG V=1\nFROM node:$V\n", want: "ARG V has no value"},
		{name: "default in place", text: "FROM node:${V:-18}${W:+x}\n", want: "node:18:1"},
		{name: "default nested", text: "ARG W=20\nFROM node:${V:-${W}}\n", want: "node:20:2"},
		{name: "alternative", text: "ARG V=1\nFROM node:18${V:+-alpine}\n", want: "node:18-alpine:2"},
		{name: "empty value", text: "ARG V=\nFROM $V\n", want: `"$V" is empty`},
		{name: "unknown operator", text: "ARG V=1\nFROM ${V#x}\n", want: `operator "#" is not one of :- and :+`},
		{name: "unclosed brace", text: "FROM ${V\n", want: "${ without }"},
		{name: "continuation with comment and empty line inside", text: "FROM \\\n# why\n\n  node:18 \\\n  AS x\n", want: "node:18:1"},
		{name: "escape directive", text: "# syntax=docker/dockerfile:1\n# escape=`\nFROM `\n node:18\nRUN a\\\nFROM b\n", want: "b:6"},
		{name: "directive after a comment is a comment", text: "# hello\n# escape=`\nRUN x\n", want: "RUN stands before FROM"},
		{name: "continued RUN hides FROM", text: "FROM a\nRUN x \\\nFROM b\n", want: "a:1"},
		{name: "here-document hides FROM", text: "FROM a\nRUN <<EOF\nFROM b\nEOF\nCOPY <<-\"X\" <<Y /d\n\tFROM c\n\tX\nFROM d\nY\n", want: "a:1"},
		{name: "here-document after FROM goes on", text: "FROM a\nRUN <<EOF cat\nx\nEOF\nFROM b\n", want: "b:5"},
		{name: "not a here-document", text: "FROM a\nENV X=<<EOF\nFROM b\n", want: "b:3"},
		{name: "here-document without end", text: "FROM a\nRUN <<EOF\n", want: `here-document "EOF" does not end`},
		{name: "additional context is an image", text: "FROM base\n", contexts: map[string]string{"base": "docker-image://node:18"}, want: "node:18:1"},
		{name: "scratch", text: "FROM scratch\n", want: "scratch:1"},
		{name: "empty", text: "# nothing\n", want: "no FROM"},
		{name: "FROM of nothing", text: "FROM\n", want: "FROM takes an image and at most AS with a name"},
		{name: "two words", text: "FROM a b\n", want: "FROM takes an image and at most AS with a name"},
		{name: "arguments that double", text: "ARG A=aaaaaaaa\n" + doubling(40) + "FROM $A\n", want: "node"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := based(tt.text, tt.target, tt.args, tt.contexts)
			if tt.name == "arguments that double" {
				if len(got) > maxReference+10 {
					t.Errorf("%d bytes", len(got))
				}
				return
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func doubling(n int) string { return strings.Repeat("ARG A=$A$A\n", n) }

func based(text, target string, args, contexts map[string]string) string {
	stages, err := parseDockerfile(text, args)
	if err != nil {
		return err.Error()
	}
	o, err := base(stages, target, contexts)
	if err != nil {
		return err.Error()
	}
	return o.image + ":" + strconv.Itoa(o.line)
}

func TestExpose(t *testing.T) {
	top := scanned(t, world(t, `-- compose.yaml --
services:
  a: {build: .}
-- Dockerfile --
FROM node:18 AS base
EXPOSE 3000/tcp $X 53/udp
FROM base
`), Options{})
	a := service(t, quiet(t, top), "a")
	if len(a.Targets) != 1 || a.Targets[0].Address != "a:3000" || a.Targets[0].Source != "the only exposed port" {
		t.Errorf("targets %+v", a.Targets)
	}
}

// TestRuntimeOf shows what an image's name says of the runtime in it.
func TestRuntimeOf(t *testing.T) {
	for image, want := range map[string]string{
		"node:18.16-alpine": "node 18.16", "node:18.16.0-bookworm-slim": "node 18.16.0", "node:20": "node 20", "node:lts": "node ", "node:lts-alpine3.18": "node ",
		"node": "node ", "node:latest": "node ", "node:18.16@sha256:abc": "node 18.16", "node@sha256:abc": "node ", "node:alpine3.18": "node ", "node:v18.1": "node 18.1",
		"docker.io/library/node:18": "node 18", "localhost:5000/node:18": "node 18", "localhost:5000/node": "node ", "bitnami/node:18.16.0-debian-11-r1": "node 18.16.0",
		"gcr.io/distroless/nodejs20-debian12": "node 20", "gcr.io/distroless/nodejs20-debian12:nonroot": "node 20", "gcr.io/distroless/static": " ",
		"golang:1.22": "go 1.22", "python:3.12-slim": "python 3.12", "python:3.12rc1": "python 3.12", "eclipse-temurin:21-jre": "java 21", "mcr.microsoft.com/dotnet/aspnet:8.0": "dotnet 8.0",
		"postgres:16.2": "postgres 16.2", "acme/api:1.2.3": " ", "scratch": " ", "": " ", "oven/bun:1.1": "bun 1.1", "node:18x16": "node 18",
	} {
		r := runtimeOf(image)
		if got := r.Name + " " + r.Version; got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
}

// TestRuntime shows where a version comes from when the tag does not tell it.
func TestRuntime(t *testing.T) {
	for _, tt := range []struct{ name, files, want string }{
		{"tag", "services: {a: {image: 'node:18.16', expose: ['1']}}\n-- .nvmrc --\n20\n", "node 18.16 from image node:18.16"},
		{"Dockerfile", "services: {a: {build: ., expose: ['1']}}\n-- Dockerfile --\n#\nFROM node:18.16\n", "node 18.16 from Dockerfile:2"},
		{"engines", "services: {a: {build: ., expose: ['1']}}\n-- Dockerfile --\nFROM node:lts\n-- package.json --\n{\"engines\": {\"node\": \">=18.16 <19\"}}\n-- .nvmrc --\n20\n", "node >=18.16 <19 from package.json engines.node"},
		{".nvmrc", "services: {a: {build: x, expose: ['1']}}\n-- x/Dockerfile --\nFROM node:lts\n-- x/package.json --\n{}\n-- x/.nvmrc --\nv18.16.1\n", "node 18.16.1 from x/.nvmrc"},
		{".node-version", "services: {a: {build: ., expose: ['1']}}\n-- Dockerfile --\nFROM acme/base\n-- .node-version --\n# c\n18.16\n", "node 18.16 from .node-version"},
		{"unknown", "services: {a: {build: ., expose: ['1']}}\n-- Dockerfile --\nFROM node:lts\n-- .nvmrc --\nlts/*\n", "node  from Dockerfile:1"},
		{"another runtime's files do not count", "services: {a: {build: ., expose: ['1']}}\n-- Dockerfile --\nFROM python:slim\n-- .nvmrc --\n20\n", "python  from Dockerfile:1"},
		{"inline, with build.args from the environment", "services: {a: {build: {context: ., dockerfile_inline: \"ARG V\\nFROM node:$$V\", args: [V]}, expose: ['1']}}\n", "node 19.1 from 2"},
		{"mounted source", "services: {a: {image: 'node:lts', working_dir: /app, volumes: ['./src:/app'], expose: ['1']}}\n-- src/.nvmrc --\n18\n", "node 18 from src/.nvmrc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := quiet(t, scanned(t, world(t, "-- compose.yaml --\n"+tt.files), Options{Env: map[string]string{"V": "19.1"}}))
			r := service(t, top, "a").Runtime
			if got := r.Name + " " + r.Version + " from " + r.Source; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
