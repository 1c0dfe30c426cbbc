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
	@set -e; for file in $(wildcard packaging/config/*.toml); do \
	    [ -e '$(DESTDIR)$(sysconfdir)/virtgate/'"$${file##*/}" ] || \
	    $(call template,$$file,$(sysconfdir)/virtgate/)"$${file##*/}"; done
	$(call each,$(wildcard packaging/systemd/*.service packaging/systemd/*.socket),\
	    $(call template,$$file,$(unitdir)/)"$${file##*/}")
	$(call each,$(wildcard packaging/apparmor/*),$(call template,$$file,$(sysconfdir)/apparmor.d/)"$${file##*/}")
	$(call each,$(wildcard packaging/sysusers.d/*.conf),$(call template,$$file,$(prefix)/lib/sysusers.d/)"$${file##*/}")
	$(call each,$(wildcard packaging/tmpfiles.d/*.conf),$(call template,$$file,$(prefix)/lib/tmpfiles.d/)"$${file##*/}")

# For other programs: what a client is made of, what a program of programs.d is made of, and the compiler of .x files. Of each
# library one archive, its headers under their own paths, and a file for pkg-config.
libdir         ?= $(prefix)/lib
includedir     ?= $(prefix)/include
devel-parts    := client rpc channel proto xdr base
devel-objects  := $(filter-out %/libshared/rpc/control.o,$(foreach l,$(devel-parts),$(call objects,$(l))))
service-parts  := service server confine spawn rpc channel loop proto xdr base
service-rooms  := base channel confine loop rpc server xdr
service-headers := $(addprefix libshared/service/,answer.h service.h version.h) \
                  $(foreach r,$(service-rooms),$(wildcard libshared/$(r)/*.h)) proto/program.h
devel-headers  := $(filter-out %/core.h %/login.h %/tls.h %/tls_verify.h %/command.h,$(wildcard libshared/client/*.h)) \
                  libshared/base/bytes.h libshared/base/clock.h libshared/base/fd.h libshared/base/result.h \
                  libshared/loop/loop.h libshared/rpc/error.h libshared/rpc/header.h $(wildcard libshared/xdr/*.h) \
                  proto/codec.h proto/schema.h proto/schema_layout.h $(service-headers)
devel-made     := $(client_HEADERS) $(client_PROGRAMS:%=$(BUILD)/gen/proto/%.h) $(BUILD)/gen/proto/net.h \
                  $(BUILD)/gen/proto/config.h
devel-archives := $(BUILD)/lib/libvirtgate-client.a $(BUILD)/lib/libvirtgate-service.a
devel-template = sed $(foreach w,prefix libdir includedir docdir VERSION,-e 's|@$(w)@|$($(w))|g') $(1) | $(call to,644,/dev/stdin,$(2))

$(BUILD)/lib/libvirtgate-client.a: $(devel-objects)
$(BUILD)/lib/libvirtgate-service.a: $(foreach l,$(service-parts),$(call objects,$(l)))
$(devel-archives):
	@mkdir -p $(@D)
	@echo '  AR        $@'
	$(Q)rm -f $@ && $(AR) rcs $@ $^

.PHONY: devel install-devel
devel: $(devel-archives) $(devel-made) $(BUILD)/xdrgen
install-devel: $(devel-archives) $(devel-made) $(BUILD)/xdrgen ## install what other programs are made of: libraries for clients and for programs.d, virtgate-xdrgen
	@$(call to,755,$(BUILD)/xdrgen,$(bindir)/virtgate-xdrgen)
	$(call each,$(devel-archives),$(call to,644,$$file,$(libdir)/)"$${file##*/}")
	$(call each,$(sort $(devel-headers)),$(call to,644,$$file,$(includedir)/virtgate/)"$$file")
	$(call each,$(devel-made),$(call to,644,$$file,$(includedir)/virtgate/proto/)"$${file##*/}")
	$(call each,client service,$(call devel-template,libshared/$$file/virtgate-$$file.pc.in,$(libdir)/pkgconfig/)"virtgate-$$file.pc")
