# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += leaser leaser_url
leaser_UNITY := yes
leaser_SOURCES := lockd/etcd/base64.cc lockd/etcd/cluster.cc lockd/etcd/endpoints.cc lockd/etcd/holds.cc lockd/etcd/http.cc \
                  lockd/etcd/job.cc lockd/etcd/keys.cc lockd/etcd/lease.cc lockd/etcd/leaser.cc lockd/etcd/overview.cc \
                  lockd/etcd/words.cc
leaser_url_SOURCES := lockd/etcd/url.cc

PROGRAMS += virtgate-leaser
virtgate-leaser_SOURCES   := lockd/etcd/main.cc lockd/etcd/confinement.cc
virtgate-leaser_LIBRARIES := leaser leaser_url confine spawn rpc channel loop proto xdr base
virtgate-leaser_PACKAGES  := EVENT CURL

UNIT_TESTS += test-etcd
test-etcd_UNITY := yes
test-etcd_SOURCES   := tests/unit/etcd_words.cc tests/unit/etcd_leaser.cc tests/unit/etcd_rig.cc tests/unit/pump.cc
test-etcd_LIBRARIES := leaser leaser_url rpc channel loop proto xdr base
test-etcd_PACKAGES  := EVENT CURL
