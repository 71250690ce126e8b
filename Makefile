# amesh: one static binary. "make" lists what can be made.

GO           ?= go
VERSION      ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
TEST_TIMEOUT ?= 6m
PKGS         ?= ./...
BENCH        ?= .
BENCHARGS    ?=
FUZZTIME     ?= 10s

# The version comes from VERSION; stamping by the go command would fail in a
# clone whose owner git does not trust.
export GOFLAGS += -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help build demo test test-all soak lint bench bench-session bench-relay bench-registry bench-path bench-gateway fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## make the static binary bin/amesh
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/amesh ./cmd/amesh

demo: build ## build, then show a relay and two agents on this machine in under a minute
	bin/amesh demo

test: ## run the tests, with the race detector where there is a C compiler (PKGS=./relay for some of them)
	@GO="$(GO)" TEST_TIMEOUT="$(TEST_TIMEOUT)" scripts/test $(PKGS)

test-all: ## run the tests and all that needs more than Go; prints SKIP and the reason where this machine cannot
	@GO="$(GO)" MAKE="$(MAKE)" scripts/test-all

soak: ## run the long tests with their full counts; an hour or more
	AMESH_SOAK=1 $(GO) test -timeout 2h -run '^TestSoak' ./...

lint: ## check gofmt, go vet and staticcheck
	@bad=$$(gofmt -l .) || exit 1; \
	if [ -n "$$bad" ]; then printf 'not formatted by gofmt:\n%s\n' "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...

bench: ## run the benchmarks (BENCH=Seal PKGS=./ratchet for some of them)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKGS)

bench-session: ## measure the session protocol against its floor; fails below a bar (BENCHARGS='--rounds 9 --json')
	@$(GO) run ./testnet/lab/benchsession $(BENCHARGS)

bench-relay: ## measure the relay against its peers; fails below a bar (BENCHARGS='--only forward')
	@cd testnet/lab/benchrelay && $(GO) run -mod=mod . $(BENCHARGS)

bench-registry: ## measure a registry of 100,000 agents with both databases; fails above a bar (BENCHARGS='--agents 20000')
	@$(GO) run ./testnet/lab/benchregistry $(BENCHARGS)

bench-path: ## measure the paths between nodes against quic-go and libp2p; fails beyond a bar (BENCHARGS='--only stream')
	@$(GO) run ./testnet/lab/benchpath $(BENCHARGS)

bench-gateway: ## measure an AMTP gateway against a bare handler and plain inserts; fails below a bar (BENCHARGS='--only memory')
	@$(GO) run ./testnet/lab/benchgateway $(BENCHARGS)

fuzz: ## run each fuzz target for FUZZTIME (10s)
	@GO="$(GO)" scripts/fuzz $(FUZZTIME)

clean: ## remove what was built here
	rm -rf bin
