# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-trace
ctl-trace_UNITY := yes
ctl-trace_SOURCES := ctl/trace/decoder.cc ctl/trace/end.cc ctl/trace/line.cc ctl/trace/relay.cc ctl/trace/secrets.cc

UNIT_TESTS += test-ctl-trace
test-ctl-trace_SOURCES   := tests/unit/ctl_trace.cc
test-ctl-trace_LIBRARIES := ctl-trace ctl spawn client reflect rpc channel loop proto xdr base
test-ctl-trace_PACKAGES  := EVENT
