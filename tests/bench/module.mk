# SPDX-License-Identifier: LGPL-2.1-or-later
PROGRAMS += virtgate-load
virtgate-load_SOURCES   := tests/bench/load.cc tests/bench/tasks.cc tests/bench/client.cc tests/bench/transport.cc \
                           tests/bench/wire.cc tests/bench/meter.cc
virtgate-load_LIBRARIES := base
virtgate-load_PACKAGES  := GNUTLS

PROGRAMS += virtgate-raw-tls
virtgate-raw-tls_SOURCES   := tests/bench/raw_tls.cc tests/bench/meter.cc
virtgate-raw-tls_LIBRARIES := base
virtgate-raw-tls_PACKAGES  := GNUTLS

PROGRAMS += virtgate-decisions
virtgate-decisions_SOURCES   := tests/bench/decisions.cc
virtgate-decisions_LIBRARIES := policy_compiler policy config proto xdr base

PROGRAMS += virtgate-lock-load
virtgate-lock-load_SOURCES   := tests/bench/lock_load.cc tests/bench/meter.cc
virtgate-lock-load_LIBRARIES := rpc proto xdr base
