# What a newcomer and CI type. Tools that are not here yet are installed into $(TOOLS), never into the repository.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

include tests/tools/versions.mk
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/attache/tools
CARGO_DENY := $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
CARGO_FUZZ := $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: cargo
cargo:
	@command -v cargo >/dev/null || { echo "cargo is needed: install Rust from https://rustup.rs" >&2; exit 1; }

.PHONY: run
run: ## Show attache beside a real Envoy and keep it running (ONCE=1: stop after showing; ENGINE=opa: OPA judges)
	@command -v python3 >/dev/null || { echo "make run needs python3 (Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
	@python3 deploy/quickstart/run.py

.PHONY: test
test: test-core test-e2e test-abuse test-witness test-export test-jose test-opa test-spire test-quickstart ## Run every test

.PHONY: test-core
test-core: cargo ## Run what needs nothing but Rust
	cargo test --locked --no-fail-fast

.PHONY: test-e2e
test-e2e: cargo ## Run the tests against a real Envoy, and OpenSSL as a judge of certificates
	@envoy="$$(tests/tools/envoy)" && set -x && \
	ENVOY_BIN="$$envoy" REQUIRE_E2E=1 cargo test --locked --test e2e --test differential

.PHONY: test-abuse
test-abuse: cargo ## Attack the binary over loopback, have h2spec judge it, and ask 100 000 times as ever new callers
	@h2spec="$$(tests/tools/h2spec)" && set -x && \
	H2SPEC_BIN="$$h2spec" REQUIRE_H2SPEC=1 ABUSE_SOAK=100000 cargo test --locked --test abuse

.PHONY: test-witness
test-witness: cargo ## Kill attache under load and look for every answer in its trail; see that it does not grow
	cargo build --locked --bin attache --example audit_kill
	@run() { (set -x; cargo run --quiet --locked --example audit_kill -- "$$@"); } && \
	run --sink sqlite && run --sink jsonl && \
	run --sink sqlite --lie && run --sink jsonl --lie && \
	run --sink jsonl --flat 30

.PHONY: test-jose
test-jose: cargo ## Let foreign JOSE libraries verify tokens of ours, and forge some
	@python="$$(tests/tools/jose)" && set -x && \
	cargo build --locked --example tokens && \
	"$$python" tests/jose/tokens.py target/debug/examples/tokens

.PHONY: test-opa
test-opa: cargo ## Run the tests against a real OPA
	@opa="$$(tests/tools/opa)" && set -x && \
	OPA_BIN="$$opa" REQUIRE_OPA=1 cargo test --locked --test opa --test parity && \
	OPA_BIN="$$opa" RECIPE_ENGINE=opa cargo test --locked --test recipe && \
	cargo build --locked --bin attache --example soak && \
	OPA_BIN="$$opa" cargo run --quiet --locked --example soak -- --seconds 20 && \
	OPA_BIN="$$opa" cargo run --quiet --locked --example soak -- --seconds 8 --lie

.PHONY: test-export
test-export: cargo ## Have the CloudEvents SDK, the published OCSF schema and a real OPA judge exported audit records
	@python="$$(tests/tools/validators)" && opa="$$(tests/tools/opa)" && set -x && \
	VALIDATORS_PYTHON="$$python" OPA_BIN="$$opa" REQUIRE_VALIDATORS=1 cargo test --locked --test export

.PHONY: test-spire
test-spire: cargo ## Run the tests with certificates of real SPIRE servers and agents, beside a real Envoy
	@spire="$$(tests/tools/spire)" && envoy="$$(tests/tools/envoy)" && set -x && \
	SPIRE_BIN="$$spire" ENVOY_BIN="$$envoy" REQUIRE_E2E=1 cargo test --locked --test spire

.PHONY: test-quickstart
test-quickstart: ## Check that `make run` shows the decisions it promises
	@ONCE=1 $(MAKE) --no-print-directory run
	@ONCE=1 ENGINE=opa $(MAKE) --no-print-directory run

.PHONY: bench
bench: cargo ## Measure: in process with criterion, then under load beside a server that always allows
	cargo bench --locked --bench audit --bench check --bench delegation --bench identity --bench routes --bench state --bench tokens
	cargo bench --locked --bench trail
	benches/load.sh $(REQUESTS)

.PHONY: kill
kill: cargo ## Kill attache under load ROUNDS=n times (100 without) for each sink; with strace, in the middle of writes and syncs too
	cargo build --locked --bin attache --example audit_kill
	@strace="$$(command -v strace || true)" && \
	if [ -z "$$strace" ]; then echo "no strace here: no kill in the middle of a write or sync" >&2; fi && \
	for sink in sqlite jsonl; do \
		cargo run --quiet --locked --example audit_kill -- --sink "$$sink" --rounds $(or $(ROUNDS),100) $${strace:+--strace "$$strace"}; \
	done

.PHONY: flat
flat: cargo ## Look whether attache's file handles and memory stay flat under load (MINUTES=n, 5 without)
	cargo build --locked --bin attache --example audit_kill
	@for sink in sqlite jsonl; do \
		cargo run --quiet --locked --example audit_kill -- --sink "$$sink" --flat "$$(($(or $(MINUTES),5) * 60))"; \
	done

.PHONY: soak
soak: cargo ## Judge every answer under load, while OPA fails in every way and policy changes (MINUTES=n, 10 without)
	@opa="$$(tests/tools/opa)" && \
	cargo build --locked --bin attache --example soak && \
	OPA_BIN="$$opa" cargo run --quiet --locked --example soak -- --seconds "$$(($(or $(MINUTES),10) * 60))"

.PHONY: fuzz
fuzz: $(CARGO_FUZZ) ## Fuzz every parser (SECONDS=n: each for n seconds, 60 without; TARGETS="path leaf": only these)
	@fuzz/run $(CARGO_FUZZ) $(or $(SECONDS),60) $(TARGETS)

.PHONY: lint
lint: cargo $(CARGO_DENY) ## Check formatting, clippy, licences and sources of dependencies
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	$(CARGO_DENY) --locked check bans licenses sources
	@# Known vulnerabilities fail the target; a database out of reach (an air-gapped builder) only says so.
	@if timeout 120 $(CARGO_DENY) fetch db >/dev/null 2>&1; then \
		$(CARGO_DENY) --locked check --disable-fetch advisories; \
	else \
		echo "advisories not checked: their database cannot be reached" >&2; \
	fi

$(CARGO_DENY): | cargo
	cargo install cargo-deny --version $(CARGO_DENY_VERSION) --locked --root $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)

$(CARGO_FUZZ):
	cargo install cargo-fuzz --version $(CARGO_FUZZ_VERSION) --locked --root $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)
