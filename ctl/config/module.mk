# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-config
ctl-config_UNITY := yes
ctl-config_SOURCES := ctl/config/daemon.cc ctl/config/listing.cc
