# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += doorman-sasl
doorman-sasl_UNITY := yes
doorman-sasl_SOURCES  := netd/doorman/sasl/accounts.cc netd/doorman/sasl/ciphers.cc netd/doorman/sasl/conversation.cc \
                         netd/doorman/sasl/exchange.cc netd/doorman/sasl/kerberos.cc netd/doorman/sasl/layer.cc \
                         netd/doorman/sasl/library.cc netd/doorman/sasl/mechanisms.cc netd/doorman/sasl/service.cc
doorman-sasl_PACKAGES := SASL

PROGRAMS += virtgate-sasl
virtgate-sasl_SOURCES   := netd/doorman/sasl/main.cc netd/doorman/sasl/confinement.cc
virtgate-sasl_LIBRARIES := doorman-sasl confine userdb spawn rpc channel proto xdr loop base
virtgate-sasl_PACKAGES  := EVENT

UNIT_TESTS += test-sasl
test-sasl_SOURCES   := tests/unit/sasl.cc tests/unit/sasl_layer.cc tests/unit/support/sasl_stage.cc
test-sasl_LIBRARIES := $(virtgate-sasl_LIBRARIES)
test-sasl_PACKAGES  := EVENT
