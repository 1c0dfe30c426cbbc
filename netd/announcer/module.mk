# SPDX-License-Identifier: LGPL-2.1-or-later
PROGRAMS += virtgate-announcer
virtgate-announcer_SOURCES   := netd/announcer/main.cc netd/announcer/confinement.cc netd/announcer/publisher.cc
virtgate-announcer_LIBRARIES := confine avahi spawn rpc channel proto xdr loop base
virtgate-announcer_PACKAGES  := AVAHI EVENT
