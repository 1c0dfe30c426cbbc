# SPDX-License-Identifier: LGPL-2.1-or-later
LIBRARIES += ctl-migrate
ctl-migrate_UNITY := yes
ctl-migrate_SOURCES := ctl/migrate/admission.cc ctl/migrate/draft.cc ctl/migrate/keys.cc \
                       ctl/migrate/listing.cc ctl/migrate/names.cc ctl/migrate/plan.cc ctl/migrate/source.cc
