# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += x509
x509_SOURCES  := libshared/x509/names.cc
x509_PACKAGES := GNUTLS

UNIT_TESTS += test-x509
test-x509_SOURCES   := tests/unit/x509_names.cc tests/unit/support/certificates.cc
test-x509_LIBRARIES := x509 proto xdr base
test-x509_PACKAGES  := GNUTLS
