# SPDX-License-Identifier: LGPL-2.1-or-later
# What the system tests of libshared/client run.
PROGRAMS += client-probe
client-probe_SOURCES   := tests/client/probe.cc
client-probe_LIBRARIES := client rpc channel loop proto xdr base
client-probe_PACKAGES  := EVENT

PROGRAMS += client-threads
client-threads_SOURCES   := tests/client/threads.cc tests/unit/client_server.cc
client-threads_LIBRARIES := client rpc channel loop proto xdr base
client-threads_PACKAGES  := EVENT

PROGRAMS += client-cuts
client-cuts_SOURCES   := tests/client/cuts.cc
client-cuts_LIBRARIES := client rpc channel loop proto xdr base
client-cuts_PACKAGES  := EVENT

check-client-cuts: $(PROGRAMS:%=$(BUILD)/%) ## a server that dies after each byte of a dialogue, over UNIX socket and TLS
	$(Q)VIRTGATE_BUILD='$(abspath $(BUILD))' VIRTGATE_CUT_STEP=1 /usr/bin/python3 -B -m pytest -p no:cacheprovider -q -s \
	    tests/system/test_client_library.py -k any_byte

# Criterion cannot run under ThreadSanitizer, so this is a program of its own; GnuTLS and libsasl2 are not used in it.
CALLS ?= 100000
check-client-threads: ## 64 threads on one connection of the client library, CALLS calls each (100000), under ThreadSanitizer
	$(Q)$(MAKE) --no-print-directory BUILD='$(BUILD)/threads' PRECOMPILE=no CXXFLAGS='-O1 -g1 -fsanitize=thread' \
	    LDFLAGS=-fsanitize=thread '$(BUILD)/threads/client-threads'
	$(Q)TSAN_OPTIONS=halt_on_error=1 '$(BUILD)/threads/client-threads' 64 '$(CALLS)'
.PHONY: check-client-threads check-client-cuts
