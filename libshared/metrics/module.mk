# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += metrics
metrics_SOURCES := libshared/metrics/asker.cc libshared/metrics/catalogue.cc libshared/metrics/pages.cc \
                   libshared/metrics/processes.cc libshared/metrics/tally.cc libshared/metrics/text.cc

UNIT_TESTS += test-metrics
test-metrics_SOURCES   := tests/unit/metrics.cc tests/unit/pump.cc
test-metrics_LIBRARIES := metrics spawn rpc channel loop proto xdr base
test-metrics_PACKAGES  := EVENT
