# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += keeper
keeper_SOURCES := netd/keeper/scheme.cc netd/keeper/service.cc netd/keeper/signer.cc

PROGRAMS += virtgate-keeper
virtgate-keeper_SOURCES := netd/keeper/main.cc netd/keeper/confinement.cc
virtgate-keeper_LIBRARIES := keeper confine spawn rpc channel proto xdr loop base
virtgate-keeper_PACKAGES := GNUTLS EVENT

UNIT_TESTS += test-keeper
test-keeper_SOURCES := tests/unit/keeper.cc
test-keeper_LIBRARIES := keeper spawn rpc channel proto xdr loop base
test-keeper_PACKAGES := GNUTLS EVENT
