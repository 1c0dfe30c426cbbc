# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += doorman
doorman_SOURCES := netd/doorman/broker_link.cc netd/doorman/desk.cc netd/doorman/examine.cc netd/doorman/handshake.cc \
                   netd/doorman/nonces.cc netd/doorman/service.cc netd/doorman/x509.cc netd/doorman/x509_names.cc \
                   netd/doorman/x509_proof.cc

PROGRAMS += virtgate-doorman
virtgate-doorman_SOURCES := netd/doorman/main.cc
virtgate-doorman_LIBRARIES := doorman keeper spawn rpc channel proto xdr loop base
virtgate-doorman_PACKAGES := GNUTLS EVENT
