# SPDX-License-Identifier: LGPL-2.1-or-later
PROGRAMS += virtgate
virtgate_SOURCES   := ctl/main.cc
virtgate_LIBRARIES := ctl-up ctl-passwd ctl-policy ctl-audit ctl-locks ctl-sandbox ctl-pki x509 policy_compiler policy config userdb ctl \
                      confine spawn rpc loop proto xdr base
virtgate_PACKAGES  := EVENT

LIBRARIES += ctl
ctl_SOURCES := ctl/files.cc ctl/programs.cc
