# SPDX-License-Identifier: LGPL-2.1-or-later
# The library proto: the generated codecs of every proto/*.x, and the interpreter of their schemas.
LIBRARIES += proto
proto_NAMES   := $(sort $(basename $(notdir $(wildcard proto/*.x))))
proto_SOURCES := proto/schema.cc proto/schema_check.cc proto/interpreter.cc proto/locate.cc proto/program.cc \
                 proto/programs.cc proto/prune.cc $(proto_NAMES:%=$(BUILD)/gen/proto/%.cc)

# The compiler of .x files runs in the build: it is made of as little as possible.
LIBRARIES += xdrgen-parts
xdrgen-parts_UNITY   := yes
xdrgen-parts_SOURCES := $(sort $(filter-out %/main.cc,$(wildcard proto/xdrgen/*.cc))) libshared/base/suggest.cc
xdrgen_SOURCES       := proto/xdrgen/main.cc
xdrgen_LIBRARIES     := xdrgen-parts

# A file is compiled again when one that it imports changes.
proto-importers = $(basename $(notdir $(shell grep -l '@import $(1)\.x' proto/*.x)))
$(foreach n,$(proto_NAMES),$(foreach i,$(call proto-importers,$(n)),$(eval $(BUILD)/gen/stamp/$(i): proto/$(n).x)))

UNIT_TESTS += test-schema test-codec test-vectors test-xdrgen test-dialect
test-schema_SOURCES    := tests/unit/schema.cc
test-schema_LIBRARIES  := proto xdr base
test-codec_SOURCES     := tests/unit/codec.cc
test-codec_LIBRARIES   := prototest proto xdr base
test-vectors_SOURCES   := tests/unit/vectors.cc
test-vectors_LIBRARIES := prototest proto xdr base
test-dialect_SOURCES   := tests/unit/dialect.cc
test-dialect_LIBRARIES := xdrgen-parts proto xdr base
test-xdrgen_SOURCES    := tests/unit/xdrgen.cc
test-xdrgen_LIBRARIES  := xdrgen-parts

# The wire is a contract: what the .x files of libvirt's programs say is committed and compared.
TESTS_SCRIPTS += proto/golden/test_layout

FUZZERS += fuzz-schema fuzz-xdrgen
fuzz-schema_SOURCES   := tests/fuzz/fuzz-schema.cc
fuzz-schema_LIBRARIES := prototest proto xdr base
fuzz-xdrgen_SOURCES   := tests/fuzz/fuzz-xdrgen.cc
fuzz-xdrgen_LIBRARIES := xdrgen-parts proto xdr base

# Seeds: one payload per shape of type, and the .x files themselves.
proto-seeds := $(BUILD)/gen/seeds/proto.stamp
$(proto-seeds): $(wildcard proto/*.x) $(BUILD)/xdrgen
	@mkdir -p $(@D)/fuzz-schema $(@D)/fuzz-xdrgen
	@for x in $(filter %.x,$^); do $(BUILD)/xdrgen --seeds $(@D)/fuzz-schema $$x || exit; done
	@cp $(filter-out proto/remote.x,$(filter %.x,$^)) $(@D)/fuzz-xdrgen && touch $@
$(BUILD)/fuzz-schema $(BUILD)/fuzz-xdrgen $(BUILD)/replay-fuzz-schema $(BUILD)/replay-fuzz-xdrgen: | $(proto-seeds)

# A thousand small functions in one file: the optimiser would spend minutes on what only tests use.
$(BUILD)/obj/gen/test/%.o: ALL_CXXFLAGS += -O1
