# Two commands on a fresh machine: `make demo` and `make test`.

# Where rustup puts cargo, for shells that have not read its profile.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Cargo may be told to build elsewhere.
GARIM := $(or $(CARGO_TARGET_DIR),target)/release/garim
FIXTURES := .garim/fixtures
BENCH := .garim/bench/venv/bin/python -B bench

.DEFAULT_GOAL := help
.PHONY: help setup build test fuzz demo clean-demo
.PHONY: check-player check-watch check-publishers check-api check-clients check-manifest chaos soak bench-service
.PHONY: bench bench-quick bench-setup bench-selftest bench-live

help:
	@echo 'make setup           install what is missing, build, fetch models and footage'
	@echo 'make demo            cover everyone but one man in a clip of two people, and live, into demo-out/'
	@echo 'make test            set up, then every check and test (cargo xtask ci)'
	@echo 'make fuzz            feed the reader of plans, and the one of RTMP, with broken ones for a minute each'
	@echo 'make build           build target/release/garim'
	@echo 'make bench           measure Garim, deface, ffmpeg and the server, into docs/BENCHMARKS.md (45 minutes)'
	@echo 'make bench-quick     a part of it, into .garim/bench/quick.md (5 minutes)'
	@echo 'make bench-selftest  does the evaluator of the benchmark see what it should?'
	@echo 'make bench-service   measure the server, into its part of docs/BENCHMARKS.md (6 minutes)'
	@echo 'make bench-live      measure live channels, into their part of docs/BENCHMARKS.md (20 minutes)'
	@echo 'make check-manifest  check docs/deploy/kubernetes.yaml'
	@echo 'make check-player    play a result in headless Chromium, with seeks'
	@echo 'make check-watch     watch a live stream on its page in headless Chromium'
	@echo 'make check-publishers  publish with GStreamer, librtmp and RTMPS, and look at what arrives'
	@echo 'make check-api       ask a running server all that its OpenAPI document allows, and more'
	@echo 'make check-clients   test the TypeScript client and the Java example with a running server'
	@echo 'make chaos           kill a server and its workers again and again over 300 jobs, twice (10 minutes)'
	@echo 'make soak            one live channel for an hour (GARIM_SOAK_MINUTES) while its processes are killed'
	@echo 'make clean-demo      delete demo-out/'

setup:
	@scripts/setup.sh
	@$(MAKE) --no-print-directory build
	@$(GARIM) models fetch
	@cargo xtask fixtures

build:
	@cargo build --release --locked

test: setup
	@cargo xtask ci

# Without a sanitizer: the code under test has no unsafe block, and stable Rust is enough.
fuzz:
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz@0.13.1
	@mkdir -p fuzz/corpus/plan fuzz/corpus/rtmp
	@cargo fuzz run --fuzz-dir fuzz --sanitizer none plan fuzz/corpus/plan fuzz/seeds/plan -- \
	    -max_total_time=60 -max_len=16384 -dict=fuzz/plan.dict -print_final_stats=1
	@cargo fuzz run --fuzz-dir fuzz --sanitizer none rtmp fuzz/corpus/rtmp fuzz/seeds/rtmp -- \
	    -max_total_time=60 -max_len=8192 -dict=fuzz/rtmp.dict -print_final_stats=1

demo: setup
	@mkdir -p demo-out
	@$(GARIM) mosaic $(FIXTURES)/made/two_people.mp4 -o demo-out/two_people.covered.mp4 \
	    --keep $(FIXTURES)/made/keep_man.jpg --report demo-out/report.json \
	    --contact-sheet demo-out/contact-sheet.png --overwrite
	@echo 'going live for 20 s...'
	@GARIM=$(GARIM) GARIM_SETTINGS="$$(printf '[live]\nlisten = "127.0.0.1:0"')" scripts/with-server.sh \
	    python3 -B scripts/demo-live.py $(FIXTURES)/made/two_people.mp4 $(FIXTURES)/made/keep_man.jpg \
	    demo-out/broadcast.mp4
	@echo
	@echo 'before         $(CURDIR)/$(FIXTURES)/made/two_people.mp4'
	@echo 'kept           $(CURDIR)/$(FIXTURES)/made/keep_man.jpg'
	@echo 'after          $(CURDIR)/demo-out/two_people.covered.mp4'
	@echo 'live           $(CURDIR)/demo-out/broadcast.mp4 (20 s as a viewer got them)'
	@echo 'report         $(CURDIR)/demo-out/report.json'
	@echo 'contact sheet  $(CURDIR)/demo-out/contact-sheet.png (shows faces)'

check-player: setup
	@scripts/check-player.sh $(GARIM)

check-watch: setup
	@scripts/check-watch.sh

check-publishers: setup
	@scripts/check-publishers.sh

check-manifest:
	@scripts/check-manifest.sh

check-api: setup
	@scripts/check-api.sh

check-clients: setup
	@scripts/check-clients.sh

# One database after the other. GARIM_CHAOS_SEED, which it prints, does the same kills again.
chaos: setup
	@GARIM_CHAOS_JOBS=$(or $(GARIM_CHAOS_JOBS),300) GARIM_TEST_REQUIRED=1 cargo xtask servers \
	    cargo test --workspace --release --locked --test service chaos:: -- --test-threads=1 --nocapture

# --seed, which it prints, does the same kills again.
soak: setup
	@python3 -B bench/soak.py --garim $(GARIM)

bench-setup: setup
	@bench/setup.sh
	@cargo xtask fixtures bench
	@cargo test --release --locked --quiet -p garim-pipeline --test strength --no-run

bench: bench-setup
	@$(BENCH)/run.py --garim $(GARIM)
	@$(MAKE) --no-print-directory bench-service

bench-quick: bench-setup
	@$(BENCH)/run.py --garim $(GARIM) --quick

bench-service: build
	@python3 -B bench/service.py --garim $(GARIM)

bench-live: setup
	@bench/setup.sh live
	@$(BENCH)/live.py --garim $(GARIM)

bench-selftest:
	@bench/setup.sh
	@cargo xtask fixtures bench
	@$(BENCH)/selftest.py

clean-demo:
	@rm -rf demo-out
