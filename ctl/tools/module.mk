# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-tools
ctl-tools_UNITY   := yes
ctl-tools_SOURCES := ctl/tools/asker.cc ctl/tools/call.cc ctl/tools/console.cc \
                     ctl/tools/event_words.cc ctl/tools/events.cc ctl/tools/list.cc ctl/tools/outcome.cc \
                     ctl/tools/ping.cc ctl/tools/progress.cc ctl/tools/table.cc ctl/tools/target.cc \
                     ctl/tools/transfer.cc

UNIT_TESTS += test-ctl-tools
test-ctl-tools_SOURCES   := tests/unit/ctl_tools.cc
test-ctl-tools_LIBRARIES := ctl-tools ctl-passwd programs config userdb ctl client reflect spawn rpc channel loop proto xdr base
test-ctl-tools_PACKAGES  := EVENT
