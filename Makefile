# Targets for development, tests and releases. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export API_PORT ?= 3000
export PB_PORT ?= 8090
export STANDINS_PORT ?= 8091
export MOTO_PORT ?= 8092
export RECEIVER_PORT ?= 8093
# A data folder for each port, so that several stacks can run.
export PB_DATA ?= .run/pb_data$(if $(filter-out 8090,$(PB_PORT)),-$(PB_PORT))
# The number of processes of each function in `make run`.
export FUNCTION_PROCESSES ?= 2
export POCKETBASE_URL ?= http://127.0.0.1:$(PB_PORT)

PYTHON ?= python3
TOOLS := .venv/.installed
SAM_TOOLS := .venv-sam/.installed
BROWSER_TOOLS := .venv-browser/.installed
# Runs a command with the variables of .env.
WITH_ENV := .venv/bin/honcho run
# The same flags for `make run` and `make test`, so that neither compiles again what the other has built.
BUILD := cargo build --workspace --bins
SAM := SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=$${AWS_DEFAULT_REGION:-us-east-1} .venv-sam/bin/sam
# cargo-lambda finds zig, its linker, in PATH.
CARGO_LAMBDA := PATH="$(CURDIR)/.venv-sam/bin:$$PATH" cargo-lambda lambda
FUNCTIONS := $(patsubst functions/%/,%,$(wildcard functions/*/))

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(TOOLS) .env ## Serve the API (API_PORT, 3000) with a PocketBase (PB_PORT, 8090)
	$(BUILD)
	@$(WITH_ENV) target/debug/local preflight
	@mkdir -p .run
	@$(WITH_ENV) sh -c '.venv/bin/pocketbase superuser upsert "$$PB_SUPERUSER_EMAIL" "$$PB_SUPERUSER_PASSWORD" --dir $(PB_DATA) --migrationsDir pocketbase/migrations' >/dev/null
	@exec $(WITH_ENV) exec target/debug/local stack

.PHONY: demo
demo: specimens .env ## Walk through the API of the running stack
	@$(BUILD) --quiet
	@$(WITH_ENV) target/debug/local demo

.PHONY: token
token: $(TOOLS) .env ## Print a development token
	@$(BUILD) --quiet
	@$(WITH_ENV) target/debug/admin token

.PHONY: partner
partner: $(TOOLS) .env ## Add a partner, rotate or revoke its keys, sign a link: make partner ARGS="add 'Acme Ltd' --team team_9"
	@$(BUILD) --quiet
	@$(WITH_ENV) target/debug/admin partner $(ARGS)

.PHONY: rehearse-restore
rehearse-restore: $(TOOLS) .env ## Lose a temporary PocketBase under load, restore it, and report what was lost
	@$(BUILD) --quiet
	@$(WITH_ENV) target/debug/local rehearse-restore

.PHONY: test
test: $(TOOLS) ## Run all tests
	$(BUILD)
	target/debug/local generate
	cargo test --workspace --lib --test '*'
	.venv/bin/python -m pytest --quiet tests/template
	.venv/bin/python -m pytest --quiet tests/pocketbase
	$(MAKE) test-page

.PHONY: test-page
test-page: $(TOOLS) $(BROWSER_TOOLS) .run/specimens ## Run the tests of the hosted page, in Chromium
	$(BUILD)
	.venv-browser/bin/python -m pytest --quiet tests/page

.PHONY: generate
generate: ## Update what is generated from template.yaml (the functions in tests/Cargo.toml)
	@$(BUILD) --quiet
	target/debug/local generate

.PHONY: layer
layer: .layer/bin/ffmpeg ## Fetch the ffmpeg of the Lambda layer

.PHONY: build
build: $(SAM_TOOLS) .layer/bin/ffmpeg ## Check the template and build every function for Lambda, into target/lambda
	$(SAM) validate --lint
	$(CARGO_LAMBDA) build --release --x86-64 --lambda-dir target/lambda $(FUNCTIONS:%=--package %)

.PHONY: deploy
deploy: environment build ## Deploy: make deploy ENV=staging, with GRADUAL=Canary10Percent5Minutes moving requests step by step
	$(if $(GRADUAL),$(PYTHON) tools/template/gradual.py $(GRADUAL) > template-gradual.yaml)
	.venv-sam/bin/sam deploy --config-env $(ENV) $(if $(GRADUAL),--template-file template-gradual.yaml)

.PHONY: environment
environment:
	@[ -n "$(ENV)" ] || { echo "ENV is not set: staging or production, as in samconfig.toml" >&2; exit 2; }

.PHONY: test-sam
test-sam: $(TOOLS) build ## Run every sample event, and the API, in Lambda's emulators (the API only with Docker)
	cargo test --workspace --test api -- --ignored --nocapture sam::

.PHONY: bench
bench: $(TOOLS) .env ## Measure starts, memory and warm requests of the release build
	cargo build --release --workspace --bins
	@$(WITH_ENV) target/release/bench

.PHONY: check
check: .tools/bin/cargo-deny .tools/bin/cargo-machete ## Format, lints, licences and sources of dependencies, unused dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	.tools/bin/cargo-deny --log-level error check bans licenses sources
	.tools/bin/cargo-machete

.env:
	cp .env.example .env

.PHONY: specimens
specimens: $(TOOLS) ## Draw new specimens in .run/specimens: a document and a video serve one person
	@.venv/bin/python tools/local/specimens.py .run/specimens

.run/specimens: tools/local/specimens.py $(TOOLS)
	.venv/bin/python tools/local/specimens.py $@
	@touch $@

$(TOOLS): tools/local/requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --requirement $<
	ln -sfn "$$(.venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" .venv/bin/ffmpeg
	@touch $@

$(SAM_TOOLS): tools/local/requirements-sam.txt
	$(PYTHON) -m venv .venv-sam
	.venv-sam/bin/pip install --quiet --requirement $<
	@touch $@

# The system's Chromium, else one that apt or Playwright installs.
$(BROWSER_TOOLS): tools/local/requirements-browser.txt
	$(PYTHON) -m venv .venv-browser
	.venv-browser/bin/pip install --quiet --requirement $<
	command -v chromium >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends chromium fonts-liberation; } \
	  || .venv-browser/bin/playwright install --with-deps chromium
	@touch $@

# From the wheel for Lambda's platform, which may differ from that of this machine.
.layer/bin/ffmpeg: tools/local/requirements.txt
	rm -rf .layer && mkdir -p .layer/bin
	$(PYTHON) -m pip download --quiet --no-deps --only-binary :all: --platform manylinux_2_28_x86_64 --dest .layer \
	  "$$(grep '^imageio-ffmpeg' $<)"
	$(PYTHON) -m zipfile --extract .layer/imageio_ffmpeg-*.whl .layer/wheel
	mv .layer/wheel/imageio_ffmpeg/binaries/ffmpeg-* $@
	rm -rf .layer/wheel .layer/*.whl
	chmod 755 $@

.tools/bin/cargo-%:
	cargo install --quiet --locked --root .tools cargo-$*@$(VERSION_$*)

VERSION_deny := 0.20.2
VERSION_machete := 0.9.2
