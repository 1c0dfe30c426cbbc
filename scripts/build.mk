# SPDX-License-Identifier: LGPL-2.1-or-later
# From the lists in module.mk to libraries, programs, unit tests and fuzzers.

# obj/ mirrors the source tree; generated sources are $(BUILD)/gen/... and have their objects in obj/gen/...
separate = $(patsubst %.cc,$(BUILD)/obj/%.o,$(patsubst $(BUILD)/%,%,$($(1)_SOURCES)))
objects  = $(if $(filter $(1),$(unity)),$(BUILD)/obj/gen/unity/$(1).o,$(separate))
archives = $($(1)_LIBRARIES:%=$(BUILD)/lib/lib%.a)
packages = $(foreach p,$(sort $($(1)_PACKAGES) $(foreach l,$($(1)_LIBRARIES),$($(l)_PACKAGES)) $(2)),$($(p)_LIBS))

ALL_CPPFLAGS := -I. -I$(BUILD)/gen -I$(BUILD) $(HARDEN_CPPFLAGS) $(PACKAGE_CFLAGS) $(CPPFLAGS)
ALL_CXXFLAGS := -std=c++20 $(WARN_CXXFLAGS) $(HARDEN_CXXFLAGS) $(SANITIZE_FLAGS) $(CXXFLAGS)
ALL_LDFLAGS  := $(HARDEN_LDFLAGS) $(SANITIZE_FLAGS) $(LDFLAGS)
COMPILE = $(CXX) $(ALL_CPPFLAGS) $(ALL_CXXFLAGS) $(USE_COMMON) -MMD -MP -c -o $@ $<
LINK    = $(CXX) $(ALL_CXXFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$+)

# Other flags or another compiler mean other objects: everything depends on this file, written only when it differs.
flags-file := $(BUILD)/flags
flags-now  := $(strip $(CXX) $(ALL_CPPFLAGS) $(ALL_CXXFLAGS) $(ALL_LDFLAGS))
ifneq ($(if $(VERSION),$(flags-now)),$(if $(VERSION),$(strip $(file < $(flags-file)))))
$(file > $(flags-file),$(flags-now))
endif

# Most of what a compiler reads are headers of libraries: scripts/common.h is compiled once for each set of flags, and g++
# looks for that beside the header that it is told to include.
PRECOMPILE ?= $(if $(findstring clang,$(CXX)),no,yes)
ifeq ($(PRECOMPILE),yes)
common      := $(patsubst %,$(BUILD)/common/%/common.h,usual light plain)
USE_COMMON   = -include $(BUILD)/common/usual/common.h
precompiled := $(common:%=%.gch)
# ccache: what is precompiled counts by its contents.
export CCACHE_SLOPPINESS := pch_defines,time_macros
$(common): scripts/common.h
	@mkdir -p $(@D) && cp $< $@
$(precompiled): %.gch: % $(flags-file)
	@echo '  CXX       $<'
	$(Q)$(CXX) $(ALL_CPPFLAGS) $(ALL_CXXFLAGS) -x c++-header -c -o $@ $<
endif

# Command lines, and what only tests run: what the optimiser would gain there, it takes twice in the build.
light := $(BUILD)/obj/tests/escape/%.o $(BUILD)/obj/examples/%.o $(BUILD)/obj/tests/support/%.o $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/ctl/%.o \
         $(BUILD)/obj/proto/xdrgen/%.o $(BUILD)/obj/gen/unity/ctl-%.o $(BUILD)/obj/gen/unity/xdrgen-parts.o $(BUILD)/obj/gen/unity/virtgate.o $(BUILD)/obj/%/main.o
plain := $(BUILD)/obj/tests/unit/%.o $(BUILD)/obj/tests/client/%.o $(BUILD)/obj/gen/test/%.o $(BUILD)/obj/gen/unity/test-%.o
$(light) $(BUILD)/common/light/%: private ALL_CXXFLAGS += -O1 -g1
$(plain) $(BUILD)/common/plain/%: private ALL_CXXFLAGS += -O0 -g1 -U_FORTIFY_SOURCE
$(light): private USE_COMMON = $(if $(common),-include $(BUILD)/common/light/common.h)
$(plain): private USE_COMMON = $(if $(common),-include $(BUILD)/common/plain/common.h)

# NAME_UNITY := yes: the sources of NAME are compiled as one, where the headers of libraries that each of them reads cost more
# than its own lines. What such sources declare for themselves needs names of its own; "make UNITY=no" compiles one by one.
UNITY ?= yes
unity := $(if $(filter yes,$(UNITY)),$(foreach p,xdrgen $(LIBRARIES) $(PROGRAMS) $(UNIT_TESTS),$(if $($(p)_UNITY),$(p))))
$(unity:%=$(BUILD)/gen/unity/%.cc): $(BUILD)/gen/unity/%.cc: $(MODULES)
	@mkdir -p $(@D) && printf '#include "%s"\n' $($*_SOURCES) > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi # a change of another part's list compiles nothing

define library
$(BUILD)/lib/lib$(1).a: $$(call objects,$(1))
	@mkdir -p $$(@D)
	@echo '  AR        $$@'
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $$^
endef

# program: name, the name whose variables it uses, more packages, more flags for the linker
define program
$(BUILD)/$(1): $$(call objects,$(2)) $$(call archives,$(2)) $$(flags-file)
	@echo '  LINK      $$@'
	$$(Q)$$(LINK) $(4) $$(call packages,$(2),FMT $(3))
endef

# replay: the fuzzer's sources with an ordinary main() that feeds it files
define replay
$(BUILD)/replay-$(1): $(BUILD)/obj/tests/fuzz/replay.o
$(call program,replay-$(1),$(1))
endef

$(UNIT_TESTS:%=$(BUILD)/%) $(FUZZERS:%=$(BUILD)/replay-%): private ALL_LDFLAGS += $(TEST_LDFLAGS)

$(foreach l,$(LIBRARIES),$(eval $(call library,$(l))))
$(foreach p,$(PROGRAMS) xdrgen,$(if $($(p)_SOURCES),$(eval $(call program,$(p),$(p)))))
$(foreach t,$(UNIT_TESTS),$(eval $(call program,$(t),$(t),CRITERION)))
$(foreach f,$(FUZZERS),$(eval $(call program,$(f),$(f),,$(FUZZ_LDFLAGS)))$(eval $(call replay,$(f))))

# Generated code. xdrgen writes to a directory of its own; only what differs is moved to gen/, so that a rebuilt
# xdrgen with the same output rebuilds nothing. proto/module.mk may set proto_X_FILES, XDRGEN_SUFFIXES, XDRGEN_FLAGS.
proto_X_FILES   ?= $(wildcard proto/*.x)
XDRGEN_SUFFIXES ?= .h .cc .schema
x-names   := $(if $(xdrgen_SOURCES),$(basename $(notdir $(proto_X_FILES))))
x-outputs := $(foreach n,$(x-names),$(XDRGEN_SUFFIXES:%=$(BUILD)/gen/proto/$(n)%))
GENERATED += $(x-outputs)

$(BUILD)/gen/stamp/%: proto/%.x $(BUILD)/xdrgen
	@echo '  XDRGEN    $<'
	@rm -rf $@.d && mkdir -p $@.d $(BUILD)/gen/proto
	$(Q)$(BUILD)/xdrgen $(XDRGEN_FLAGS) --out $@.d $<
	@for f in $@.d/*; do to='$(BUILD)/gen/proto/'"$${f##*/}"; cmp -s "$$f" "$$to" || mv "$$f" "$$to"; done
	@rm -rf $@.d && touch $@
$(foreach n,$(x-names),$(eval $(XDRGEN_SUFFIXES:%=$(BUILD)/gen/proto/$(n)%): $(BUILD)/gen/stamp/$(n) ;))

# Every object waits for the generated headers, except those of which xdrgen itself is made.
parts-of-all := $(LIBRARIES) $(PROGRAMS) $(UNIT_TESTS) $(FUZZERS)
tool-objects := $(foreach p,xdrgen $(xdrgen_LIBRARIES),$(call objects,$(p)))
all-objects  := $(sort $(foreach p,$(parts-of-all),$(call objects,$(p))) $(BUILD)/obj/tests/fuzz/replay.o)
$(filter-out $(tool-objects),$(all-objects)): | $(GENERATED)
$(all-objects) $(tool-objects): $(precompiled)

define compile
	@mkdir -p $(@D)
	@echo '  CXX       $<'
	$(Q)$(COMPILE)
endef
generated-objects := $(filter $(BUILD)/obj/gen/%,$(all-objects))
$(generated-objects): $(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.cc $(flags-file)
	$(compile)
$(filter-out $(generated-objects),$(sort $(all-objects) $(tool-objects))): $(BUILD)/obj/%.o: %.cc $(flags-file)
	$(compile)

-include $(patsubst %.o,%.d,$(all-objects) $(tool-objects))
