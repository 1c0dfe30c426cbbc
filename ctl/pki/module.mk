# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-pki
ctl-pki_SOURCES  := ctl/pki/certificate.cc ctl/pki/throwaway.cc
ctl-pki_PACKAGES := GNUTLS

UNIT_TESTS += test-pki
test-pki_SOURCES   := tests/unit/pki.cc
test-pki_LIBRARIES := ctl-pki ctl base
