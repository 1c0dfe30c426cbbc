# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-passwd
ctl-passwd_UNITY := yes
ctl-passwd_SOURCES := ctl/passwd/listing.cc ctl/passwd/prompt.cc ctl/passwd/store.cc

UNIT_TESTS += test-passwd
test-passwd_UNITY     := yes
test-passwd_SOURCES   := tests/unit/passwd.cc ctl/passwd/command.cc
test-passwd_LIBRARIES := ctl-passwd userdb ctl spawn loop xdr base
test-passwd_PACKAGES  := EVENT
