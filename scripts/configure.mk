# SPDX-License-Identifier: LGPL-2.1-or-later
# How a build directory gets its configure, config.mk and config.h. Nothing generated lands in the source tree.

# CONFIGURE_FLAGS, once given, stay valid for the build directory: they are kept in $(BUILD)/configure.flags. Continuous integration
# packs what it builds, and has packages' directories.
CI_FLAGS := --enable-werror --prefix=/usr --sysconfdir=/etc --localstatedir=/var --runstatedir=/run
ifeq ($(origin CONFIGURE_FLAGS),undefined)
CONFIGURE_FLAGS := $(if $(wildcard $(BUILD)/configure.flags),$(file < $(BUILD)/configure.flags),$(if $(CI),$(CI_FLAGS)))
endif
ifneq ($(strip $(CONFIGURE_FLAGS)),$(if $(wildcard $(BUILD)/configure.flags),$(strip $(file < $(BUILD)/configure.flags)),none))
$(shell mkdir -p '$(BUILD)')
$(file > $(BUILD)/configure.flags,$(strip $(CONFIGURE_FLAGS)))
endif

# Goals such as check install missing packages first; the stamp changes only when something was installed, and
# then configure must look again.
ifneq ($(DEPS_SETS),)
$(BUILD)/deps.stamp: FORCE
	@mkdir -p $(@D)
	@scripts/deps --stamp $@ $(DEPS_SETS)
endif

$(BUILD)/configure: configure.ac $(if $(DEPS_SETS),$(BUILD)/deps.stamp)
	@mkdir -p $(@D)
	@command -v autoconf >/dev/null && command -v pkg-config >/dev/null || \
	    { echo 'autoconf or pkg-config is missing: run "make deps" first' >&2; exit 1; }
	@echo '  AUTOCONF  $@'
	$(Q)cd $(@D) && autoconf -I /usr/share/aclocal -I /usr/local/share/aclocal -o configure '$(CURDIR)/configure.ac' && touch configure

$(BUILD)/config.mk: $(BUILD)/configure $(BUILD)/configure.flags config.mk.in config.h.in
	@echo '  CONFIGURE $(CONFIGURE_FLAGS)'
	$(Q)cd $(@D) && ./configure --quiet --srcdir='$(CURDIR)' $(CONFIGURE_FLAGS) || \
	    { rm -f config.mk; echo 'see $(BUILD)/config.log; "make deps" installs what the build needs' >&2; exit 1; }
	@touch $@
