# SPDX-License-Identifier: LGPL-2.1-or-later
# Programs to learn from. They are built with everything else, so that they stay right, and installed as text.
PROGRAMS += client-list client-events
client-list_SOURCES     := examples/client-list.cc
client-list_LIBRARIES   := client rpc channel proto xdr base
client-events_SOURCES   := examples/client-events.cc
client-events_LIBRARIES := client rpc channel proto xdr base
