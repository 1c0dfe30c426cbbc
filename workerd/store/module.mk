# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += store
store_UNITY := yes
store_SOURCES := workerd/store/announcer.cc workerd/store/batch.cc workerd/store/connect_desk.cc \
                 workerd/store/download.cc workerd/store/failures.cc workerd/store/host.cc workerd/store/house.cc workerd/store/lock_line.cc \
                 workerd/store/locks.cc workerd/store/making.cc workerd/store/path_digest.cc \
                 workerd/store/places.cc workerd/store/pool_desk.cc workerd/store/qcow2.cc \
                 workerd/store/state_directory.cc workerd/store/store.cc workerd/store/transfer_desk.cc \
                 workerd/store/upload.cc workerd/store/volume.cc workerd/store/volume_desk.cc \
                 workerd/store/xml.cc
store_PACKAGES := XML

PROGRAMS += virtgate-store
virtgate-store_SOURCES   := workerd/store/main.cc workerd/store/confinement.cc
virtgate-store_LIBRARIES := store confine server spawn rpc channel loop xml proto xdr base
virtgate-store_PACKAGES  := EVENT XML

UNIT_TESTS += test-store
test-store_SOURCES   := tests/unit/store.cc tests/unit/store_locks.cc tests/unit/pump.cc
test-store_LIBRARIES := store server spawn rpc channel loop xml proto xdr base
test-store_PACKAGES  := EVENT XML
