# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-admin
ctl-admin_UNITY := yes
ctl-admin_SOURCES := ctl/admin/daemon.cc ctl/admin/listing.cc ctl/admin/log.cc ctl/admin/look.cc ctl/admin/reload.cc ctl/admin/top.cc
