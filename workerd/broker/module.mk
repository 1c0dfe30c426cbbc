# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += broker
broker_SOURCES := workerd/broker/administration.cc workerd/broker/audit_post.cc workerd/broker/broker.cc workerd/broker/crashes.cc workerd/broker/crew.cc \
                  workerd/broker/default_uris.cc workerd/broker/entrance.cc workerd/broker/lock_door.cc workerd/broker/log_desk.cc \
                  workerd/broker/inventory.cc \
                  workerd/broker/policy_source.cc workerd/broker/post.cc workerd/broker/program_posts.cc \
                  workerd/broker/settings.cc \
                  workerd/broker/store_post.cc

PROGRAMS += virtgate-workerd
virtgate-workerd_SOURCES   := workerd/broker/main.cc workerd/broker/confinement.cc
virtgate-workerd_LIBRARIES := broker confine policy programs logging config metrics spawn rpc channel loop proto xdr base
virtgate-workerd_PACKAGES  := EVENT

UNIT_TESTS += test-broker
test-broker_UNITY := yes
test-broker_SOURCES   := tests/unit/broker.cc tests/unit/broker_crew.cc tests/unit/broker_house.cc \
                         tests/unit/pump.cc
test-broker_LIBRARIES := broker confine policy programs logging config metrics spawn rpc channel loop proto xdr base
test-broker_PACKAGES  := EVENT
