# SPDX-License-Identifier: LGPL-2.1-or-later
# make install DESTDIR=... prefix=...
#
# virtgate finds its other programs in libexecdir/virtgate; they find each other beside themselves. Data files that
# name users or directories are templates: @net_user@, @libexecdir@ and the like are filled in here.

# What lies under tests/ is never installed, and examples are as text.
installed := $(foreach p,$(PROGRAMS),$(if $(filter tests/% examples/%,$($(p)_SOURCES)),,$(p)))
man-pages := $(wildcard docs/man/*.[1-8] netd/*.[1-8] netd/*/*.[1-8] workerd/*.[1-8] lockd/*.[1-8] ctl/*.[1-8] policy/*.[1-8])
examples  := $(wildcard policy/examples/* docs/examples/* examples/*.cc)
data      = $(datadir)/virtgate
to        = install -D -m $(1) $(2) '$(DESTDIR)$(3)'
template-words = bindir libexecdir sysconfdir datadir localstatedir VERSION NET_USER KEY_USER AUTH_USER WORK_USER AUDIT_USER STORE_USER \
                 LOCK_USER WORK_GROUP
template = sed $(foreach w,$(template-words),-e 's|@$(w)@|$($(w))|g') $(1) | $(call to,644,/dev/stdin,$(2))
# each: files, command for the file $$file
each = @set -e; for file in $(1); do $(2); done

install: all ## install below prefix (DESTDIR=dir: into a directory tree, for packages)
	$(call each,$(filter-out virtgate,$(installed)),$(call to,755,$(BUILD)/$$file,$(libexecdir)/virtgate/)"$$file")
	$(call each,$(filter virtgate,$(installed)),$(call to,755,$(BUILD)/$$file,$(bindir)/)"$$file")
	$(call each,$(filter %.schema,$(GENERATED)),$(call to,644,$$file,$(data)/schema/)"$${file##*/}")
	$(call each,$(wildcard policy/default.d/*.toml),$(call to,644,$$file,$(data)/policy.d/)"$${file##*/}")
	$(call each,$(man-pages),$(call template,$$file,$(mandir)/man)"$${file##*.}/$${file##*/}")
	$(call each,$(wildcard *.md COPYING docs/*.md docs/guides/*.md),$(call to,644,$$file,$(docdir)/)"$${file##*/}")
	$(call each,$(examples),$(call to,644,$$file,$(docdir)/examples/)"$${file##*/}")
	$(call each,$(wildcard examples/inventory/*),$(call to,644,$$file,$(docdir)/)"$$file")
	$(call each,$(wildcard packaging/completions/virtgate.bash packaging/completions/bash/virtgate),\
	    $(call to,644,$$file,$(datadir)/bash-completion/completions/virtgate))
	$(call each,$(wildcard packaging/completions/_virtgate packaging/completions/zsh/_virtgate),\
	    $(call to,644,$$file,$(datadir)/zsh/site-functions/_virtgate))
	$(call each,$(wildcard packaging/completions/virtgate.fish packaging/completions/fish/virtgate.fish),\
	    $(call to,644,$$file,$(datadir)/fish/vendor_completions.d/virtgate.fish))
	$(call each,packaging/grafana/virtgate.json,$(call to,644,$$file,$(data)/grafana/)"$${file##*/}")
	$(call each,packaging/prometheus/virtgate.rules.yml,$(call to,644,$$file,$(data)/prometheus/)"$${file##*/}")
	@set -e; for file in $(wildcard packaging/config/*.toml); do \
	    [ -e '$(DESTDIR)$(sysconfdir)/virtgate/'"$${file##*/}" ] || \
	    $(call template,$$file,$(sysconfdir)/virtgate/)"$${file##*/}"; done
	$(call each,$(wildcard packaging/systemd/*.service packaging/systemd/*.socket),\
	    $(call template,$$file,$(unitdir)/)"$${file##*/}")
	$(call each,$(wildcard packaging/apparmor/*),$(call template,$$file,$(sysconfdir)/apparmor.d/)"$${file##*/}")
	$(call each,$(wildcard packaging/sysusers.d/*.conf),$(call template,$$file,$(prefix)/lib/sysusers.d/)"$${file##*/}")
	$(call each,$(wildcard packaging/tmpfiles.d/*.conf),$(call template,$$file,$(prefix)/lib/tmpfiles.d/)"$${file##*/}")
