# SPDX-License-Identifier: LGPL-2.1-or-later
UNIT_TESTS += test-escape
test-escape_SOURCES   := tests/escape/escape.cc tests/escape/attempts.cc tests/escape/exceptions.cc tests/escape/elsewhere.cc \
                         netd/gate/confinement.cc netd/keeper/confinement.cc netd/doorman/confinement.cc \
                         netd/doorman/sasl/confinement.cc netd/announcer/confinement.cc netd/steward/confinement.cc netd/exporter/confinement.cc workerd/worker/confinement.cc \
                         workerd/auditor/confinement.cc workerd/store/confinement.cc policy/compile/confinement.cc \
                         lockd/locker/confinement.cc libshared/service/confinement.cc
test-escape_LIBRARIES := confine proto xdr base
