# SPDX-License-Identifier: LGPL-2.1-or-later
PROGRAMS += virtgate
virtgate_SOURCES   := ctl/main.cc
virtgate_LIBRARIES := ctl-migrate ctl-up ctl-trace ctl-admin ctl-tools ctl-passwd ctl-policy ctl-audit ctl-locks ctl-config ctl-discover avahi ctl-sandbox ctl-pki x509 policy_compiler policy programs config userdb ctl \
                      confine spawn client reflect rpc channel loop proto xdr base
virtgate_PACKAGES  := AVAHI EVENT

LIBRARIES += ctl
ctl_SOURCES := ctl/files.cc ctl/inquiry.cc ctl/output.cc ctl/programs.cc
