# Everything a newcomer and CI run. Each target installs what is missing (apt, PyPI) or says what to install.
#
#   make demo [FILE=path]   a real log file over QUIC, kill -9, replay, to the bucket, replay from there
#   make cluster [DIR=path] three stores, two frontends, etcd and SeaweedFS on this machine, until Ctrl-C
#   make test               format, lints, unit, property, conformance and end-to-end tests, docs
#   make lint               only the static half of it
#   make e2e                only the end-to-end tests
#   make bench              the table of figures beside the raw limits of this machine (release build)
#   make soak [ROUNDS=n]    the kill -9 and seam scenarios, long; with MINUTES=n [SEED=n] instead, a cluster
#                           with faults by chance, a seed a minute
#   make failover           how long clients wait when something of a cluster dies (release build)
#   make sim [SEEDS=a..b]   replication in a hostile world, as many seeds as wanted (BUG=name switches a bug on)
#   make fuzz [SECS=n]     every fuzz target for a while (installs cargo-fuzz where it is missing)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One set of features for lints, tests and docs, so that nothing is compiled twice; it switches the failpoints on.
ALL := --workspace --all-features --locked
ROUNDS ?= 500
SECS ?= 60
SEEDS ?= 0..100000
SEED ?= 1
LONG = $(if $(MINUTES),TIDELOG_SOAK_MINUTES=$(MINUTES) TIDELOG_SOAK_SEED=$(SEED),TIDELOG_SOAK_ROUNDS=$(ROUNDS))

.PHONY: help build demo cluster test lint artifacts check e2e doc bench failover soak sim fuzz

help:
	@sed -n 's/^#   //p' Makefile

build:
	@scripts/install-system build
	cargo build --release --locked -p tidelog-bin

demo:
	@scripts/install-system build
	cargo build --locked -p tidelog-bin
	@scripts/demo target/debug/tidelog $(FILE)

cluster:
	@scripts/install-system build test
	cargo build --locked -p tidelog-bin
	@TIDELOG_TOOLS=$$(scripts/install-tools) scripts/cluster target/debug/tidelog $(DIR)

test: lint check doc
	@echo "All of it passed."

lint:
	@scripts/install-system build test
	cargo fmt --all --check
	@scripts/check-text
	tools=$$(scripts/install-tools); "$$tools/cargo-deny" --all-features --locked --log-level error check licenses bans sources
	cargo clippy $(ALL) --all-targets -- -D warnings

# The end-to-end tests start target/debug/tidelog, hence the build before them.
artifacts:
	@scripts/install-system build test
	cargo build $(ALL) --bins --tests --examples

check: artifacts
	export TIDELOG_TOOLS=$$(scripts/install-tools); cargo test $(ALL) --no-fail-fast

e2e: artifacts
	export TIDELOG_TOOLS=$$(scripts/install-tools); cargo test $(ALL) --test scenarios

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc $(ALL) --no-deps --document-private-items

bench:
	@scripts/install-system build test
	cargo build --release --locked -p tidelog-bin
	@TIDELOG_TOOLS=$$(scripts/install-tools) e2e/bench/run target/release/tidelog

failover:
	@scripts/install-system build test
	cargo build --release --locked -p tidelog-bin
	cargo build --locked -p tidelog-e2e --example failover
	@TIDELOG_TOOLS=$$(scripts/install-tools) TIDELOG_BINARY=target/release/tidelog target/debug/examples/failover

soak: artifacts
	export TIDELOG_TOOLS=$$(scripts/install-tools) $(LONG); \
	    cargo test $(ALL) --test scenarios -- soak --nocapture

sim:
	cargo build --locked -p tidelog-sim
	target/debug/tidelog-sim --seeds $(SEEDS) $(if $(BUG),--bug $(BUG))

fuzz:
	@scripts/install-system build
	@scripts/fuzz $(SECS)
