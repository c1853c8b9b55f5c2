# The commands of this project. `make help` lists them.

TARGET := $(or $(CARGO_TARGET_DIR),target)
KILN := $(TARGET)/release/kiln
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60
# off: everybody may do everything; smart: tokens are asked for.
AUTH ?= off

.DEFAULT_GOAL := help
.PHONY: help run test test-long interop lint bench components deps fuzz doc

help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: deps ## Everything needed, then the server on loopback with demo data (AUTH=smart asks for tokens).
	cargo build --release
	KILN_AUTH__MODE=$(AUTH) $(KILN) serve --demo

# Many tests wait for something now and then, and leave the processors to others meanwhile.
test: export RUST_TEST_THREADS ?= $(shell expr 2 '*' $$(nproc))
test: deps ## Everything needed, then all tests.
	@.ci/deps test
	cargo test -p kiln -p kiln-fuzz
	cargo test -p kiln-conformance

test-long: deps ## The tests with the full numbers of rounds and cases, optimised; takes long.
	@.ci/deps test
	KILN_TEST_LONG=1 cargo test --release -p kiln -p kiln-fuzz
	KILN_TEST_LONG=1 cargo test --release -p kiln-conformance

interop: ## SMART clients and senders of messages of other makers, and a browser, against servers of their own.
	tests/interop/run

lint: ## Format, lints, documents without warnings, licences.
	cargo fmt --all --check
	cargo clippy -p kiln -p kiln-fuzz --all-targets -- -D warnings
	cargo clippy -p kiln-conformance --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
	.ci/audit

bench: deps ## Requests per second beside PostgreSQL's own, and resources of FHIRPath and extraction, on this machine.
	cargo build --release
	$(KILN) bench crud
	$(KILN) bench read
	$(KILN) bench import
	$(KILN) bench search
	cargo bench --bench fhirpath --bench extract

components: ## A list of all that the server is built from (CycloneDX), in target/kiln.cdx.json.
	@mkdir -p $(TARGET)
	.ci/components > $(TARGET)/kiln.cdx.json

deps: ## Installs what is missing: a PostgreSQL server. Names what it cannot install.
	@.ci/deps

fuzz: ## Every fuzz target for FUZZ_SECONDS each, on stable Rust.
	cargo run --release --manifest-path fuzz/Cargo.toml -- --seconds $(FUZZ_SECONDS)

doc: ## The documentation of the code, in target/doc.
	cargo doc --no-deps
