# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-pki
ctl-pki_UNITY := yes
ctl-pki_SOURCES  := ctl/pki/bundle.cc ctl/pki/certificate.cc ctl/pki/check.cc ctl/pki/client.cc \
                    ctl/pki/examine.cc ctl/pki/facts.cc ctl/pki/install.cc ctl/pki/lifetime.cc ctl/pki/listing.cc ctl/pki/names.cc \
                    ctl/pki/places.cc ctl/pki/probe.cc ctl/pki/records.cc ctl/pki/report.cc ctl/pki/store.cc \
                    ctl/pki/tar.cc ctl/pki/throwaway.cc ctl/pki/transport.cc ctl/pki/trust.cc
ctl-pki_PACKAGES := GNUTLS

UNIT_TESTS += test-pki
test-pki_SOURCES   := tests/unit/pki.cc tests/unit/pki_words.cc
test-pki_LIBRARIES := ctl-pki x509 ctl spawn loop proto xdr base
