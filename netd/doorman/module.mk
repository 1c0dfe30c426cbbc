# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += doorman
doorman_UNITY := yes
doorman_SOURCES := netd/doorman/broker_link.cc netd/doorman/counts.cc netd/doorman/desk.cc netd/doorman/examine.cc netd/doorman/failures.cc \
                   netd/doorman/handshake.cc netd/doorman/local_door.cc netd/doorman/nonces.cc netd/doorman/sasl_link.cc \
                   netd/doorman/service.cc netd/doorman/visit.cc netd/doorman/x509.cc \
                   netd/doorman/x509_expiry.cc netd/doorman/x509_own.cc netd/doorman/x509_proof.cc

PROGRAMS += virtgate-doorman
virtgate-doorman_SOURCES := netd/doorman/main.cc netd/doorman/confinement.cc
virtgate-doorman_LIBRARIES := doorman metrics confine keeper x509 spawn rpc channel proto xdr loop base
virtgate-doorman_PACKAGES := GNUTLS EVENT

UNIT_TESTS += test-doorman-x509 test-doorman-proof test-doorman-service test-doorman-logins
test-doorman-x509_SOURCES := tests/unit/doorman_x509.cc tests/unit/support/certificates.cc
test-doorman-x509_LIBRARIES := $(virtgate-doorman_LIBRARIES)
test-doorman-x509_PACKAGES := GNUTLS EVENT
test-doorman-proof_SOURCES := tests/unit/doorman_proof.cc tests/unit/support/certificates.cc
test-doorman-proof_LIBRARIES := $(virtgate-doorman_LIBRARIES)
test-doorman-proof_PACKAGES := GNUTLS EVENT
test-doorman-service_SOURCES := tests/unit/doorman_service.cc tests/unit/support/certificates.cc
test-doorman-service_LIBRARIES := $(virtgate-doorman_LIBRARIES)
test-doorman-service_PACKAGES := GNUTLS EVENT
test-doorman-logins_UNITY := yes
test-doorman-logins_SOURCES := tests/unit/doorman_logins.cc tests/unit/doorman_ways.cc tests/unit/pump.cc tests/unit/support/certificates.cc
test-doorman-logins_LIBRARIES := $(virtgate-doorman_LIBRARIES)
test-doorman-logins_PACKAGES := GNUTLS EVENT
