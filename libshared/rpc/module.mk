# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += rpc
rpc_SOURCES := libshared/rpc/control.cc libshared/rpc/cutter.cc libshared/rpc/error.cc libshared/rpc/header.cc \
               libshared/rpc/ping_schedule.cc

UNIT_TESTS += test-rpc
test-rpc_SOURCES := tests/unit/rpc.cc
test-rpc_LIBRARIES := rpc channel loop base
test-rpc_PACKAGES := EVENT

FUZZERS += fuzz-cutter
fuzz-cutter_SOURCES := tests/fuzz/fuzz-cutter.cc
fuzz-cutter_LIBRARIES := rpc base
