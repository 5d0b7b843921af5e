# Everything a contributor runs. `make test` needs Debian or Ubuntu with Rust (and root or sudo once), and nothing else.
.DEFAULT_GOAL := help
.PHONY: help test mutants fuzz lab bench lint fmt docs preview pictures deny deploy-check ci demo clean-lab

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dr-exporter-lab

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: lab ## install what the tests need, then run all of them (unit, lab, documentation)
	cargo test --locked --no-fail-fast

mutants: ## change every alert rule in every known way; report how many changes a test notices (minutes)
	alerts/tests/mutants

lab: ## install and build the real components of the lab (fast when all is there)
	tests/lab/install

bench: ## what dr-exporter costs, beside its peers; writes docs/benchmarks.md (15 minutes, the first time 40); ONLY=http,sql for some of it
	tests/lab/install bench
	cargo build --locked --profile dist
	install -D $(or $(CARGO_TARGET_DIR),target)/dist/dr-exporter $(or $(CARGO_TARGET_DIR),target)/bench/dr-exporter
	DR_EXPORTER=$(abspath $(or $(CARGO_TARGET_DIR),target)/bench/dr-exporter) ONLY='$(ONLY)' cargo bench --locked --profile dev --bench bench

SECONDS ?= 60
fuzz: ## mutate what comes from outside, SECONDS (60) for each target (the first build takes minutes)
	fuzz/run $(SECONDS)

lint: ## formatting and clippy, as CI judges them
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

fmt: ## format the code
	cargo fmt

docs: ## write docs/ and dashboards/ again from the code
	cargo run --locked --quiet -- docs write docs

preview: lab ## pictures of the dashboards, drawn by Grafana's own packages (npm, once 470 MB; chromium) into target/preview
	tests/lab/dashboards-preview

pictures: ## the README's pictures of the page, from the demo (chromium) into docs/images
	tests/lab/pictures

deploy-check: lab ## everything below deploy/, rendered, validated and put before a real API server
	cargo build --locked
	tests/lab/deploy-check --lab --crd tests/lab/deploy/crds.yaml --exporter $(or $(CARGO_TARGET_DIR),target)/debug/dr-exporter

deny: ## licences, bans and sources of the dependencies
	@command -v cargo-deny >/dev/null || test -x $(CACHE)/cargo/bin/cargo-deny \
	  || cargo install --locked --root $(CACHE)/cargo cargo-deny@0.20.2
	PATH="$(CACHE)/cargo/bin:$$PATH" cargo deny --all-features check bans licenses sources

ci: ## all that has to hold before a merge; builds outside of this directory
	.ci/run

demo: ## the incident, on loopback, with nothing to install
	cargo run --release --locked -- demo

clean-lab: ## remove what `make lab` built (packages of the distribution stay)
	rm -rf $(CACHE)
