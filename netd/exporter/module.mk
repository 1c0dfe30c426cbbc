# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += exporter
exporter_UNITY := yes
exporter_SOURCES := netd/exporter/collection.cc netd/exporter/service.cc

PROGRAMS += virtgate-exporter
virtgate-exporter_SOURCES   := netd/exporter/main.cc netd/exporter/confinement.cc
virtgate-exporter_LIBRARIES := exporter http metrics confine spawn rpc channel loop proto xdr base
virtgate-exporter_PACKAGES  := EVENT HTTP
