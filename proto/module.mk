# SPDX-License-Identifier: LGPL-2.1-or-later
# The library proto: the generated codecs of every proto/*.x, and the interpreter of their schemas.
LIBRARIES += proto
proto_NAMES   := $(sort $(basename $(notdir $(wildcard proto/*.x))))
proto_SOURCES := proto/schema.cc proto/schema_check.cc proto/interpreter.cc proto/locate.cc proto/program.cc \
                 proto/programs.cc $(proto_NAMES:%=$(BUILD)/gen/proto/%.cc)

xdrgen_SOURCES := $(sort $(wildcard proto/xdrgen/*.cc))

# A file is compiled again when one that it imports changes.
proto-importers = $(basename $(notdir $(shell grep -l '@import $(1)\.x' proto/*.x)))
$(foreach n,$(proto_NAMES),$(foreach i,$(call proto-importers,$(n)),$(eval $(BUILD)/gen/stamp/$(i): proto/$(n).x)))

UNIT_TESTS += test-schema test-codec test-vectors test-xdrgen
test-schema_SOURCES    := tests/unit/schema.cc
test-schema_LIBRARIES  := proto xdr base
test-codec_SOURCES     := tests/unit/codec.cc
test-codec_LIBRARIES   := prototest proto xdr base
test-vectors_SOURCES   := tests/unit/vectors.cc
test-vectors_LIBRARIES := prototest proto xdr base
test-xdrgen_SOURCES    := tests/unit/xdrgen.cc $(filter-out proto/xdrgen/main.cc,$(xdrgen_SOURCES))
