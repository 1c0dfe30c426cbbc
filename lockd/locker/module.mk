# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += locker
locker_SOURCES := lockd/locker/administration.cc lockd/locker/connections.cc lockd/locker/departures.cc lockd/locker/desk.cc \
                  lockd/locker/etcd_space.cc lockd/locker/failures.cc lockd/locker/file_spaces.cc lockd/locker/keeping.cc \
                  lockd/locker/lock_file.cc lockd/locker/lock_table.cc lockd/locker/locker.cc \
                  lockd/locker/recovery.cc lockd/locker/roots.cc lockd/locker/session_desk.cc lockd/locker/spaces.cc \
                  lockd/locker/witness.cc

PROGRAMS += virtgate-locker
virtgate-locker_SOURCES   := lockd/locker/main.cc lockd/locker/confinement.cc
virtgate-locker_LIBRARIES := confine locker policy server spawn rpc channel loop proto xdr base
virtgate-locker_PACKAGES  := EVENT

UNIT_TESTS += test-locker
test-locker_UNITY := yes
test-locker_SOURCES   := tests/unit/locker_administration.cc tests/unit/locker_calls.cc tests/unit/locker_rig.cc tests/unit/locker_survival.cc tests/unit/pump.cc
test-locker_LIBRARIES := locker policy server spawn rpc channel loop proto xdr base
test-locker_PACKAGES  := EVENT

FUZZERS += fuzz-server
fuzz-server_SOURCES   := tests/fuzz/fuzz-server.cc
fuzz-server_LIBRARIES := locker policy server spawn rpc channel loop proto xdr base
fuzz-server_PACKAGES  := EVENT
