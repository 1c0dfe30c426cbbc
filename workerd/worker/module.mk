# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += worker
worker_SOURCES := workerd/worker/lane.cc workerd/worker/open_calls.cc workerd/worker/opening.cc \
                  workerd/worker/prologue.cc workerd/worker/rights.cc workerd/worker/session.cc \
                  workerd/worker/session_down.cc workerd/worker/session_fds.cc workerd/worker/session_up.cc \
                  workerd/worker/uri_table.cc workerd/worker/vet.cc workerd/worker/worker.cc

PROGRAMS += virtgate-worker
virtgate-worker_SOURCES   := workerd/worker/main.cc
virtgate-worker_LIBRARIES := worker spawn rpc channel loop proto xdr base
virtgate-worker_PACKAGES  := EVENT

UNIT_TESTS += test-worker
test-worker_SOURCES   := tests/unit/worker_fds.cc tests/unit/worker_parts.cc tests/unit/worker_reading.cc \
                         tests/unit/worker_relay.cc tests/unit/worker_session.cc tests/unit/worker_stage.cc \
                         tests/unit/pump.cc
test-worker_LIBRARIES := worker rpc channel loop proto xdr base
test-worker_PACKAGES  := EVENT
