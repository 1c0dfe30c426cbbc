# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += netd
netd_UNITY := yes
netd_SOURCES := netd/announcement.cc netd/file_watch.cc netd/generation.cc netd/ground.cc netd/listener.cc netd/port_holder.cc netd/post.cc netd/publication.cc netd/settings.cc netd/stewardship.cc netd/supervisor.cc netd/supervisor_counts.cc netd/supervisor_orders.cc

PROGRAMS += virtgate-netd
virtgate-netd_SOURCES := netd/main.cc netd/confinement.cc
virtgate-netd_LIBRARIES := netd metrics confine programs logging config spawn rpc channel proto xdr loop base
virtgate-netd_PACKAGES := EVENT TOML

UNIT_TESTS += test-netd
test-netd_SOURCES := tests/unit/netd.cc tests/unit/netd_ground.cc
test-netd_LIBRARIES := netd metrics confine programs logging config spawn rpc channel proto xdr loop base
test-netd_PACKAGES := EVENT TOML
