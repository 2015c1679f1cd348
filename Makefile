# SPDX-License-Identifier: GPL-2.0-or-later
# The front door. Meson does the building; every target here is one command on a fresh Debian 12.
MAKEFLAGS += --no-print-directory
.PHONY: all demo demo-stop check check-unit check-cluster check-full fuzz bench bench-sst clean

all: build/release/build.ninja
	ninja -C build/release

build/release/build.ninja: | deps
	meson setup --buildtype=debugoptimized build/release

.PHONY: deps
deps:
	@scripts/install-deps

demo: all       ## an encrypted three-node cluster on loopback, shown at work
	@scripts/demo start

demo-stop:      ## stops what `make demo` left running
	@scripts/demo stop

check: deps     ## all tests
	@scripts/check

check-unit: deps ## layers, unit tests and simulator only
	@scripts/check unit

check-cluster: all ## tests with real servers only
	@scripts/check cluster

check-full: deps ## also the long ones: 20,000 seeds of the simulator, faults in mixed clusters under load
	@scripts/check full

.PHONY: check-mtr
check-mtr: all  ## MariaDB's own Galera suites with our provider, compared with the stock one
	@scripts/check-mtr

fuzz: deps      ## coverage-guided fuzzing of all readers, FUZZ_SECONDS each (default 60)
	@scripts/fuzz

bench: all      ## speed, as ratios against the stock provider in one run
	@scripts/bench

bench-sst: all  ## state transfer, ours against the stock script in one run
	@scripts/bench-sst

clean:
	rm -rf build
