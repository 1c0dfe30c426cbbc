# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += gate gate_tls
gate_UNITY := yes
gate_SOURCES := netd/gate/arrival.cc netd/gate/door.cc netd/gate/front.cc netd/gate/ledger.cc netd/gate/login.cc \
                netd/gate/overseen.cc netd/gate/parent.cc netd/gate/plain.cc netd/gate/roll.cc netd/gate/session.cc \
                netd/gate/session_descriptors.cc netd/gate/session_input.cc netd/gate/session_locks.cc netd/gate/session_output.cc netd/gate/sessions.cc netd/gate/sources.cc netd/gate/vet.cc
gate_tls_SOURCES := netd/gate/tls/connection.cc netd/gate/tls/credentials.cc netd/gate/tls/signer.cc \
                    netd/gate/tls/transcript.cc

PROGRAMS += virtgate-gate
virtgate-gate_SOURCES := netd/gate/main.cc netd/gate/confinement.cc
virtgate-gate_LIBRARIES := schemas gate gate_tls metrics confine spawn rpc channel proto xdr loop base
virtgate-gate_PACKAGES := GNUTLS EVENT

UNIT_TESTS += test-gate test-gate-login
test-gate_SOURCES := tests/unit/gate.cc
test-gate_LIBRARIES := gate gate_tls metrics rpc channel proto xdr loop base
test-gate_PACKAGES := GNUTLS EVENT
test-gate-login_SOURCES := tests/unit/gate_login.cc tests/unit/pump.cc
test-gate-login_LIBRARIES := $(test-gate_LIBRARIES)
test-gate-login_PACKAGES := GNUTLS EVENT
