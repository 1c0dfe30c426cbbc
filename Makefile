# SPDX-License-Identifier: LGPL-2.1-or-later
# The one make file of virtgate. It is not recursive: every directory lists its parts in module.mk (see
# scripts/README.md), configure's answers come from $(BUILD)/config.mk, and scripts/*.mk hold the rules.
#
#   make BUILD=dir                 another build directory (each has its own configuration)
#   make CONFIGURE_FLAGS='...'     options for configure; remembered in the build directory
#   make V=1                       show the commands

BUILD    ?= build
SHELL    := /bin/sh
MAKEFLAGS += --no-builtin-rules --no-builtin-variables
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)        # "make -j1" still means one
endif
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
Q := $(if $(V),,@)

# What each directory adds to.
LIBRARIES     :=
PROGRAMS      :=
UNIT_TESTS    :=
FUZZERS       :=
TESTS_SCRIPTS :=
GENERATED     :=

# Goals that need no configuration, and goals that install what they miss before anything is configured.
GOALS      := $(or $(MAKECMDGOALS),all)
CONFIGURED := $(filter-out help deps clean layering lint dist deb rpm check-boot check-boot-real,$(GOALS))
DEPS_SETS  := $(sort $(if $(filter-out check-boot%,$(filter deps check% bench%,$(GOALS))),build test) $(if $(filter demo,$(GOALS)),build demo) \
              $(if $(CI),$(if $(filter check,$(GOALS)),boot package)) $(if $(filter fuzz,$(GOALS)),build fuzz))

MODULES := $(filter-out build/% $(BUILD)/%,$(wildcard */module.mk */*/module.mk */*/*/module.mk))
include $(MODULES)
ifneq ($(CONFIGURED),)
include scripts/configure.mk
include $(BUILD)/config.mk
include scripts/build.mk
include scripts/install.mk
include scripts/devel.mk
endif

.PHONY: help deps all demo check check-unit check-system check-hostile check-kills check-etcd check-calls check-boot check-boot-real check-sanitizers fuzz bench bench-limits lint \
        layering accept-layout install dist deb rpm clean FORCE

help: ## list the targets
	@echo 'Targets of make:'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(sort Makefile $(MODULES) $(wildcard scripts/*.mk))

deps: ## install the Debian packages that the build and the tests need
	@scripts/deps build test

all: $(installed:%=$(BUILD)/%) ## build every program (first configures when needed)

demo: all ## show virtgate at work, on this machine, without touching its configuration
	@VIRTGATE_BUILD='$(abspath $(BUILD))' scripts/demo

# Suites are named kind:name; tests/run knows the kinds, runs them with a time limit and counts the results.
UNIT_SUITES    := $(UNIT_TESTS:%=unit:%) $(FUZZERS:%=replay:%) $(TESTS_SCRIPTS:%=script:%)
SYSTEM_SUITES  := $(if $(wildcard tests/system/test_*.py),pytest:tests/system)
# In a container, with packages of what is built; only root can, and only what is configured for packages, as in CI.
BOOT_SUITES    := script:tests/boot/run:600
HOSTILE_SUITES := $(if $(wildcard tests/hostile/test_*.py),pytest:tests/hostile)
RUN_SUITES      = @/usr/bin/python3 -B tests/run --build '$(BUILD)'
# What tests install is finished before: two of them may want it at once.
test-programs  := $(PROGRAMS:%=$(BUILD)/%) $(UNIT_TESTS:%=$(BUILD)/%) $(FUZZERS:%=$(BUILD)/replay-%)

check: $(test-programs) devel ## build, then run every test; the last line counts them
	$(RUN_SUITES) $(BOOT_SUITES) $(UNIT_SUITES) $(SYSTEM_SUITES) $(HOSTILE_SUITES)

check-unit: $(test-programs) ## unit tests, script tests and the replay of the fuzz corpora
	$(RUN_SUITES) $(UNIT_SUITES)

check-system: $(PROGRAMS:%=$(BUILD)/%) devel ## virtgate's daemons against real libvirt clients and daemons
	$(RUN_SUITES) $(SYSTEM_SUITES)

check-hostile: $(PROGRAMS:%=$(BUILD)/%) ## virtgate's daemons against malicious clients and broken processes
	$(RUN_SUITES) $(HOSTILE_SUITES)

check-calls: $(PROGRAMS:%=$(BUILD)/%) ## compare the system calls that processes make with those that they may make
	$(Q)scripts/observed-calls --build '$(BUILD)'

KILLS ?= 200
check-kills: $(PROGRAMS:%=$(BUILD)/%) ## kill every process KILLS times (200) under load; about 11 s for each time
	$(Q)VIRTGATE_KILLS=$(KILLS) VIRTGATE_BUILD='$(abspath $(BUILD))' \
	    /usr/bin/python3 -B -m pytest -p no:cacheprovider -q -s tests/system/test_kill_matrix.py

PAIRS ?= 10000
check-etcd: $(PROGRAMS:%=$(BUILD)/%) ## take and release locks in etcd PAIRS times (10000) while its servers fail; about two minutes
	$(Q)VIRTGATE_ETCD_PAIRS=$(PAIRS) VIRTGATE_BUILD='$(abspath $(BUILD))' \
	    /usr/bin/python3 -B -m pytest -p no:cacheprovider -q -s tests/system/test_etcd.py -k held_twice

check-boot: deb ## install the packages of the last commit under a real systemd, and use them; needs root
	$(Q)export VIRTGATE_PACKAGES=build/packages; $(subst @,,$(RUN_SUITES)) script:tests/boot/run:600

check-boot-real: deb ## the same on a kernel of Debian's with AppArmor, in a virtual machine that is started again in between
	$(Q)export VIRTGATE_PACKAGES=build/packages VIRTGATE_BOOT=vm; $(subst @,,$(RUN_SUITES)) script:tests/boot/run:1800

# The same tests in a second build directory with AddressSanitizer and UndefinedBehaviorSanitizer.
check-sanitizers: ## unit, replay and system tests under AddressSanitizer and UBSan
	$(Q)$(MAKE) --no-print-directory BUILD='$(BUILD)/sanitize' CONFIGURE_FLAGS='--enable-sanitizers $(if $(CI),--enable-werror)' check-sanitized
check-sanitized: $(test-programs)
	$(RUN_SUITES) $(UNIT_SUITES) $(SYSTEM_SUITES)

FUZZ_SECONDS ?= 30
fuzz: ## run every fuzzer for FUZZ_SECONDS (30) with clang's libFuzzer
	$(Q)$(MAKE) --no-print-directory BUILD='$(BUILD)/fuzz' CXX=clang++ CONFIGURE_FLAGS=--enable-fuzzing fuzz-run
fuzz-run: $(FUZZERS:%=$(BUILD)/%)
	$(Q)scripts/fuzz '$(BUILD)' $(FUZZ_SECONDS) $(FUZZERS)

bench: $(PROGRAMS:%=$(BUILD)/%) ## measure latency and throughput
	@VIRTGATE_BUILD='$(abspath $(BUILD))' tests/bench/run

bench-limits: $(PROGRAMS:%=$(BUILD)/%) ## measure what clients that never get in cost the others
	@VIRTGATE_BUILD='$(abspath $(BUILD))' tests/bench/limits

lint: ## formatting, clang-tidy, shellcheck and the house rules (LINT=all: every file, not only changed ones)
	@BUILD='$(BUILD)' scripts/lint $(LINT)

layering: ## check who includes whom, and where external libraries are used
	@/usr/bin/python3 -B scripts/layering

accept-layout: $(BUILD)/xdrgen ## take the present layout of proto/*.x as the intended one (then read git diff)
	$(Q)rm -f proto/golden/*.layout; for file in $(proto_X_FILES); do $(BUILD)/xdrgen --layout proto/golden "$$file" || exit 1; done

dist: ## write a reproducible source archive to build/packages
	@scripts/dist build/packages

deb: ## build Debian packages of the last commit, in build/packages
	@scripts/deps build package
	@scripts/deb build/packages

rpm: ## build RPM packages of the last commit, in build/packages; needs no root
	@scripts/deps build rpm
	@scripts/rpm build/packages

clean: ## remove the build directory
	@if [ -e '$(BUILD)/configure' ]; then rm -rf -- '$(BUILD)'; fi
