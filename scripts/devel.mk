# SPDX-License-Identifier: LGPL-2.1-or-later
# What other programs are made of: libvirtgate, shared and static, with what a client needs and what a program of programs.d
# needs; its headers under their own paths; two files for pkg-config; and the compiler of .x files. make install-devel.

libdir        ?= $(prefix)/lib
includedir    ?= $(prefix)/include
devel-parts   := client service server confine spawn rpc channel loop proto xdr base
service-rooms := base channel confine loop rpc server xdr
service-headers := $(addprefix libshared/service/,answer.h service.h version.h) \
                  $(foreach r,$(service-rooms),$(wildcard libshared/$(r)/*.h)) proto/program.h
devel-headers := $(filter-out %/core.h %/login.h %/tls.h %/tls_verify.h %/command.h,$(wildcard libshared/client/*.h)) \
                  libshared/base/bytes.h libshared/base/clock.h libshared/base/fd.h libshared/base/result.h \
                  libshared/loop/loop.h libshared/rpc/error.h libshared/rpc/header.h $(wildcard libshared/xdr/*.h) \
                  proto/codec.h proto/schema.h proto/schema_layout.h $(service-headers)
devel-made    := $(client_HEADERS) $(client_PROGRAMS:%=$(BUILD)/gen/proto/%.h) $(BUILD)/gen/proto/net.h \
                  $(BUILD)/gen/proto/config.h
devel-template = sed $(foreach w,prefix libdir includedir docdir VERSION,-e 's|@$(w)@|$($(w))|g') $(1) | $(call to,644,/dev/stdin,$(2))

# The number says who understands whom. Until 1.0 it stays, and packages depend on the minor version besides: C++ types in headers are
# part of what a program is compiled with.
devel-soname := libvirtgate.so.0
devel-shared := $(BUILD)/lib/libvirtgate.so.$(VERSION)
devel-static := $(BUILD)/lib/libvirtgate.a

$(devel-static): $(foreach l,$(devel-parts),$(call objects,$(l)))
	@mkdir -p $(@D)
	@echo '  AR        $@'
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# Code for a shared library is another code: each part is compiled once more, as one source.
shared-sources := $(devel-parts:%=$(BUILD)/gen/shared/%.cc)
shared-objects := $(devel-parts:%=$(BUILD)/obj/gen/shared/%.o)
$(shared-sources): $(BUILD)/gen/shared/%.cc: $(MODULES)
	@mkdir -p $(@D) && printf '#include "%s"\n' $($*_SOURCES) > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
$(shared-objects): private ALL_CXXFLAGS := $(filter-out -fPIE -pie,$(ALL_CXXFLAGS)) -fPIC -fno-semantic-interposition
$(shared-objects): private USE_COMMON :=
$(shared-objects): $(BUILD)/obj/gen/shared/%.o: $(BUILD)/gen/shared/%.cc $(flags-file) | $(GENERATED)
	$(compile)
$(devel-shared): private ALL_CXXFLAGS := $(filter-out -fPIE -pie,$(ALL_CXXFLAGS))
$(devel-shared): private ALL_LDFLAGS := $(filter-out -fPIE -pie,$(ALL_LDFLAGS))
$(devel-shared): $(shared-objects) scripts/libvirtgate.map $(flags-file)
	@echo '  LINK      $@'
	$(Q)$(LINK) -shared -Wl,-soname,$(devel-soname) -Wl,--version-script=scripts/libvirtgate.map -Wl,-z,defs -Wl,--as-needed \
	    $(FMT_LIBS) $(GNUTLS_LIBS) $(SASL_LIBS) $(EVENT_LIBS) $(SECCOMP_LIBS) $(CAPNG_LIBS) -pthread
-include $(shared-objects:.o=.d)

.PHONY: devel install-devel
devel: $(devel-shared) $(devel-static) $(devel-made) $(BUILD)/xdrgen
install-devel: devel ## install what other programs are made of: libvirtgate for clients and for programs.d, virtgate-xdrgen
	@$(call to,755,$(BUILD)/xdrgen,$(bindir)/virtgate-xdrgen)
	@$(call to,644,$(devel-shared),$(libdir)/$(notdir $(devel-shared)))
	@$(call to,644,$(devel-static),$(libdir)/$(notdir $(devel-static)))
	@ln -sf $(notdir $(devel-shared)) '$(DESTDIR)$(libdir)/$(devel-soname)'
	@ln -sf $(devel-soname) '$(DESTDIR)$(libdir)/libvirtgate.so'
	$(call each,$(sort $(devel-headers)),$(call to,644,$$file,$(includedir)/virtgate/)"$$file")
	$(call each,$(devel-made),$(call to,644,$$file,$(includedir)/virtgate/proto/)"$${file##*/}")
	$(call each,client service,$(call devel-template,libshared/$$file/virtgate-$$file.pc.in,$(libdir)/pkgconfig/)"virtgate-$$file.pc")
