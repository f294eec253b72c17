# Builds slowburn, checks it and shows it. `make help` lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BIN := $(CURDIR)/bin
IMAGE ?= slowburn:$(VERSION)
ENGINE ?= docker

# One configuration for all but the race detector: the binary, promtool and the linter then share one build cache,
# and a build in another folder gives the same bytes.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath -buildvcs=false)
STATIC := CGO_ENABLED=0

# The race detector needs cgo. It keeps the paths of the sources, so that a report can be clicked on.
RACE := GOFLAGS="$(filter-out -trimpath,$(GOFLAGS))" CGO_ENABLED=1
TEST := $(RACE) PATH="$(BIN):$$PATH" go test -race -vet=off -shuffle=on -timeout=20m

.PHONY: help build demo test test-go test-load test-npm check lint fix vet fuzz faults faults-short soak bench bench-peers bench-go tools vuln image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the static binary, bin/slowburn
	$(STATIC) go build -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/slowburn ./cmd/slowburn

demo: build ## the whole story in two minutes: contract, rules, scrapes, a page, its end (ARGS='--alertmanager URL')
	$(BIN)/slowburn demo $(ARGS)

test: ## everything: go vet, npm packages, load, then units, scripts and end to end under the race detector
	@for part in vet test-npm test-load test-go; do \
	  echo "== $$part"; TIMEFORMAT="== $$part took %0R s"; time $(MAKE) $$part; \
	done

test-go: $(BIN)/promtool ## the Go tests alone (PKG=./rulegen/... for some of them, ARGS=-v for more of go test's flags)
	$(TEST) $(ARGS) $(or $(PKG),./...)

test-load: ## what hostile queries cost serve: without the race detector, which costs more than they do
	$(STATIC) PATH="$(BIN):$$PATH" go test -vet=off -timeout=10m -run '^TestHostile' ./cmd/slowburn

test-npm: ## the tests of instrument and of the shop
	@.ci/npm instrument fixtures/shop

check: lint test ## what a commit has to pass

lint: $(BIN)/golangci-lint ## golangci-lint, with the import arrows, and the rules that it has no words for
	$(STATIC) $(BIN)/golangci-lint run ./...
	@.ci/tree

fix: $(BIN)/golangci-lint ## let the linter mend what it can: imports, formatting, idioms
	$(STATIC) $(BIN)/golangci-lint run --fix ./...

vet:
	$(STATIC) go vet ./...

fuzz: ## each fuzz target for FUZZTIME (10s), or those that FUZZ matches (FUZZ=contract/FuzzScan)
	@$(STATIC) .ci/fuzz $(or $(FUZZTIME),10s) '$(FUZZ)'

faults: build ## what must not bring serve down, tried on the real program, a row for each (ARGS=-short for few trials, -run E1 for some)
	$(STATIC) go run ./cmd/faults $(ARGS)

faults-short: build ## the short form of faults and of soak, as CI runs it
	$(STATIC) go run ./cmd/faults -short -parallel 3 -run '^E|^soak$$' -for 40s $(ARGS)

soak: build ## kill Alertmanager and slowburn at random for ten minutes, then compare what burnt with what was told (ARGS='-for 1h')
	$(STATIC) go run ./cmd/faults -run '^soak$$' $(ARGS)

bench: build ## replay of the standard history beside the floor, T=10 and T=100; each ends with a line of JSON
	$(STATIC) go run ./cmd/bench -tenants 10 -slowburn $(BIN)/slowburn
	$(STATIC) go run ./cmd/bench -tenants 100 -slowburn $(BIN)/slowburn

bench-peers: ## the replay beside promtool's (with prometheus) and vmalert's (with victoria-metrics), where installed
	$(STATIC) go run ./cmd/bench -tenants 10 -days 2 -peers promtool,vmalert
	$(STATIC) go run ./cmd/bench -tenants 10 -days 30 -runs 3 -peers vmalert

bench-go: $(BIN)/benchstat ## Go benchmarks, six runs each, into out/bench.txt; compared with out/before.txt where that exists
	@mkdir -p out
	$(STATIC) go test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -count 6 $(or $(PKG),./...) | tee out/bench.txt
	@$(BIN)/benchstat $(wildcard out/before.txt) out/bench.txt

tools: $(BIN)/golangci-lint $(BIN)/promtool $(BIN)/benchstat $(BIN)/govulncheck ## the pinned tools, in bin/

vuln: $(BIN)/govulncheck build ## known vulnerabilities in what the sources and the binary call (asks a database on the net)
	$(BIN)/govulncheck ./...
	$(BIN)/govulncheck -mode binary $(BIN)/slowburn

image: ## the container image (ENGINE=podman, IMAGE=name:tag)
	$(ENGINE) build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

clean: ## remove what make built
	rm -rf bin out

# Each tool is a module below tools/: its dependencies are not ours.
$(BIN)/golangci-lint: tools/lint/go.mod tools/lint/go.sum
$(BIN)/benchstat: tools/benchstat/go.mod tools/benchstat/go.sum
$(BIN)/govulncheck: tools/vuln/go.mod tools/vuln/go.sum
$(BIN)/golangci-lint $(BIN)/benchstat $(BIN)/govulncheck:
	$(STATIC) go -C $(<D) build -o $(BIN)/ tool
	@touch $@

# Upstream's tags leave out two dozen clouds that nobody here discovers, which halves this build.
$(BIN)/promtool: tools/promtool/go.mod tools/promtool/go.sum
	$(STATIC) go -C $(<D) build -tags remove_all_sd,enable_dns_sd,enable_moby_sd -o $(BIN)/ tool
	@touch $@
