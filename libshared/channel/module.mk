# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += channel
channel_SOURCES := libshared/channel/connect.cc libshared/channel/local_listener.cc libshared/channel/packet.cc
