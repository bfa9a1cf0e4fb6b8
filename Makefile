# Baton. `make help` says what there is.

SHELL := /bin/sh
CACHE := $(HOME)/.cache/baton
ROCKSDB := $(CACHE)/rocksdb/librocksdb.a
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
BIN := $(TARGET)/release
# Where `make up` keeps the cluster that `make down` stops.
DIR ?= $(TARGET)/quick-start
# What `make fuzz` feeds.
FUZZ_TARGETS := remoting headers ha_packets records log files configuration

# RocksDB's C++ takes a quarter of an hour of processor time. It is built once, kept outside the target folder, and linked statically.
export ROCKSDB_LIB_DIR := $(CACHE)/rocksdb
export ROCKSDB_STATIC := 1
# Pasted by people, with characters that a shell would read: `make sim` finds it in its environment.
export SCHEDULE

.PHONY: chaos fuzz failover model help build test interop-long lint demo up down rocksdb cargo libclang

help:
	@echo "make demo    build, run a cluster of 3 controllers and 3 brokers, kill its master under load, show what became of every message"
	@echo "make up      build and leave such a cluster running; DIR=folder for its files"
	@echo "make down    stop it"
	@echo "make build   release binaries in $(BIN)"
	@echo "make test    format, lints and all tests; a minute of mutations for each of fuzz's targets"
	@echo "make interop-long  a set of our brokers and Java's that copies more than 256 MiB, switched both ways"
	@echo "make failover  what Java's clients go through when brokers die, measured; ROW=name for one row, RUNS=20"
	@echo "make lint    format and lints only"
	@echo "make chaos   MINUTES=10 SEED=7: faults at random on real processes, their network, disks and clocks, under load; root and Linux"
	@echo "make fuzz    MINUTES=1 of bytes that nobody sane has written into each of: $(FUZZ_TARGETS)"
	@echo "make model   check the safety rules exhaustively, deeper than make test does"
	@echo "make sim     hunt lost messages in the simulation: SEEDS=1000 of them, from SEED=1 on; the first that breaks a rule is"
	@echo "             shrunk and told. SCHEDULE='seed 17; 3000 ms: kill B1 for 40 ms' (or a file) plays one as it says"
	@echo "make mutants plant bugs and count how many of them the simulation finds within SEEDS=1000 seeds, from SEED=1 on;"
	@echo "             MUTANT=SkipsCuts,TailsNotKept: only these"

build: rocksdb
	cargo build --release -p baton

test: lint
	cargo build -p baton -p baton-preload
	BATON_FUZZ_MINUTES=1 cargo test --workspace

interop-long: rocksdb
	cargo build -p baton
	cargo test -p baton-tests --test interop -- --ignored --skip failover_figures --nocapture

# The table of docs/FAILOVER.md, with RUNS=20 a quarter of an hour and more; with Java's servers as control.
failover: build
	RUNS=$(or $(RUNS),20) ROW=$(ROW) cargo test --release -p baton-tests --test interop -- --ignored failover_figures --nocapture

lint: rocksdb
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# The same seed strikes with the same faults. What it finds does not depend on the seed alone: these are real processes.
# BATON_KEEP=1 leaves the folder of a run that failed, or that was Java's. CONTROL=java breaks RocketMQ's own servers and counts what they lose.
chaos: rocksdb
	cargo build -p baton -p baton-preload
	BATON_CHAOS_MINUTES=$(or $(MINUTES),10) BATON_CHAOS_SEED=$(SEED) BATON_CHAOS_CONTROL=$(CONTROL) cargo test -p baton-tests --test chaos faults_at_random -- --nocapture

# Under libFuzzer where cargo-fuzz and a nightly compiler are installed; else what `make test` does for a minute, for longer.
fuzz: rocksdb
	@if cargo +nightly fuzz --version >/dev/null 2>&1; then \
		set -e; for target in $(FUZZ_TARGETS); do \
			mkdir -p fuzz/found/$$target; \
			cargo +nightly fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- -max_total_time=$$(( $(or $(MINUTES),1) * 60 )) -max_len=65536; \
		done; \
	else \
		echo "Without libFuzzer: install it with 'rustup toolchain install nightly' and 'cargo install cargo-fuzz' for a fuzzer that sees the code."; \
		BATON_FUZZ_MINUTES=$(or $(MINUTES),1) cargo test --release -p baton-tests --test fuzz -- --nocapture; \
	fi

# Minutes; `make test` visits the smaller part of it.
model: rocksdb
	BATON_MODEL_DEEP=1 cargo test --release -p baton-tests --test model -- --nocapture

# One core simulates more than an hour in a second; a seed that breaks a rule prints its story.
sim: rocksdb
ifdef SCHEDULE
	@BATON_SIM_SCHEDULE="$$SCHEDULE" BATON_SIM_MUTANT=$(MUTANT) \
		cargo test --release -p baton-tests --test sim test_one_schedule -- --nocapture
else
	BATON_SIM_SEEDS=$(or $(SEEDS),1000) BATON_SIM_SEED=$(or $(SEED),1) \
		cargo test --release -p baton-tests --test sim no_seed -- --nocapture
endif

# The table is most wanted when a bug was missed.
mutants: rocksdb
	@rm -f $(TARGET)/mutants.txt; \
		BATON_SIM_MUTANT_SEEDS=$(or $(SEEDS),1000) BATON_SIM_SEED=$(or $(SEED),1) BATON_SIM_MUTANT=$(MUTANT) \
		BATON_SIM_TABLE=$(TARGET)/mutants.txt cargo test --release -p baton-tests --test sim planted -- --nocapture >&2; \
		status=$$?; [ ! -f $(TARGET)/mutants.txt ] || cat $(TARGET)/mutants.txt; exit $$status

demo: build
	@$(BIN)/mqbench demo

up: build
	@$(BIN)/mqbench up --dir $(DIR)

down:
	@$(BIN)/mqbench down --dir $(DIR)

rocksdb: cargo libclang $(ROCKSDB)

cargo:
	@command -v cargo >/dev/null || { \
		echo "Rust is missing. Install it as https://rustup.rs says, or with your distribution's package manager, then run make again." >&2; exit 1; }

# The binding to RocksDB is generated from its C header by libclang.
libclang:
	@set -e; \
	if [ -z "$$LIBCLANG_PATH" ] && ! ldconfig -p 2>/dev/null | grep -Eq 'libclang(-[0-9]+)?\.so' && ! ls /usr/lib/llvm-*/lib/libclang[-.][0-9s]*so* >/dev/null 2>&1; then \
		command -v apt-get >/dev/null || { echo "libclang is missing: install it (package clang-devel, clang-libs or llvm) and run make again." >&2; exit 1; }; \
		echo "Installing libclang-dev: the controllers keep their log in RocksDB, and its Rust binding is generated with libclang."; \
		SUDO=; [ "$$(id -u)" = 0 ] || SUDO=sudo; \
		$$SUDO apt-get update -q; $$SUDO apt-get install -qy --no-install-recommends libclang-dev; \
	fi

# Order-only: a newer libclang or cargo is no reason to build RocksDB again.
$(ROCKSDB): | cargo libclang
	@echo "Building RocksDB once into $(CACHE): about 15 minutes of processor time, a few minutes on many cores."
	env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC cargo build --release -p librocksdb-sys --target-dir $(CACHE)/build
	@mkdir -p $(@D)
	@cp "$$(ls -t $(CACHE)/build/release/build/librocksdb-sys-*/out/librocksdb.a | head -n 1)" $@.new && mv $@.new $@
