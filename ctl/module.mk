# SPDX-License-Identifier: LGPL-2.1-or-later
PROGRAMS += virtgate
# The commands with the command line, whose library is most of what the compiler reads of them.
virtgate_UNITY     := yes
virtgate_SOURCES   := ctl/admin/command.cc ctl/audit/command.cc ctl/config/command.cc ctl/discover/command.cc ctl/locks/command.cc ctl/migrate/command.cc \
                      ctl/passwd/command.cc ctl/pki/command.cc ctl/policy/command.cc ctl/sandbox/command.cc ctl/tools/command.cc ctl/trace/command.cc ctl/up/command.cc \
                      ctl/main.cc
virtgate_LIBRARIES := ctl-migrate ctl-up ctl-trace ctl-admin ctl-tools ctl-passwd ctl-policy ctl-audit ctl-locks ctl-config ctl-discover avahi ctl-sandbox ctl-pki x509 policy_compiler policy programs config userdb ctl \
                      confine spawn client reflect rpc channel loop proto xdr base
virtgate_PACKAGES  := AVAHI EVENT

LIBRARIES += ctl
ctl_SOURCES := ctl/files.cc ctl/inquiry.cc ctl/output.cc ctl/programs.cc
