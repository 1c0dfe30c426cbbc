# SPDX-License-Identifier: LGPL-2.1-or-later
# The library service: what a program of others is made of (programs.d).
LIBRARIES += service
service_UNITY   := yes
service_SOURCES := libshared/service/confinement.cc libshared/service/flow.cc libshared/service/service.cc

UNIT_TESTS += test-service
test-service_SOURCES   := tests/unit/service.cc tests/unit/pump.cc
test-service_LIBRARIES := service server confine spawn rpc channel loop inventory-proto proto xdr base
test-service_PACKAGES  := EVENT

FUZZERS += fuzz-service
fuzz-service_SOURCES   := tests/fuzz/fuzz-service.cc
fuzz-service_LIBRARIES := service server confine spawn rpc channel loop inventory-proto proto xdr base
fuzz-service_PACKAGES  := EVENT
