# SPDX-License-Identifier: LGPL-2.1-or-later
# The library reflect: payloads of any program as JSON and back, for tools. Daemons do without.
LIBRARIES += reflect
reflect_UNITY   := yes
reflect_SOURCES := libshared/reflect/catalogue.cc libshared/reflect/description.cc libshared/reflect/encoding.cc \
                   libshared/reflect/json.cc libshared/reflect/payload.cc

UNIT_TESTS += test-reflect
test-reflect_SOURCES   := tests/unit/reflect.cc
test-reflect_LIBRARIES := reflect proto xdr base

FUZZERS += fuzz-reflect
fuzz-reflect_SOURCES   := tests/fuzz/fuzz-reflect.cc
fuzz-reflect_LIBRARIES := reflect proto xdr base
