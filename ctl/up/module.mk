# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-up
ctl-up_UNITY := yes
ctl-up_SOURCES := ctl/up/configuration.cc ctl/up/console.cc ctl/up/fd_store.cc ctl/up/notify.cc ctl/up/options.cc \
                  ctl/up/places.cc ctl/up/suite.cc ctl/up/up.cc ctl/up/uri.cc

UNIT_TESTS += test-up
test-up_SOURCES   := tests/unit/up.cc tests/unit/up_fd_store.cc
test-up_LIBRARIES := ctl-up ctl-pki x509 ctl spawn loop proto xdr base
test-up_PACKAGES  := EVENT
