# SPDX-License-Identifier: LGPL-2.1-or-later
# The oracle: the same types through Debian's rpcgen and libtirpc, which know nothing of xdrgen.
UNIT_TESTS += test-oracle
test-oracle_SOURCES   := tests/oracle/test.cc
test-oracle_LIBRARIES := prototest oracle proto xdr base
test-oracle_PACKAGES  := TIRPC

oracle-names   := $(sort $(basename $(notdir $(wildcard proto/*.x))))
oracle-objects := $(oracle-names:%=$(BUILD)/obj/oracle/%_xdr.o) $(BUILD)/obj/oracle/oracle.o
# rpcgen's code is not ours: C without our warnings.
oracle-cc = $(or $(CC),cc) -O1 -g -fPIC -w -I$(BUILD)/gen/oracle -Itests/oracle $(PACKAGE_CFLAGS)

$(oracle-names:%=$(BUILD)/gen/oracle/%.x): $(BUILD)/gen/oracle/%.x: proto/%.x $(BUILD)/xdrgen
	@$(BUILD)/xdrgen --oracle $(@D) $<

$(oracle-names:%=$(BUILD)/gen/oracle/%_xdr.c): $(BUILD)/gen/oracle/%_xdr.c: $(BUILD)/gen/oracle/%.x
	@echo '  RPCGEN    $@'
	@cd $(@D) && rm -f $*.h $*_xdr.c && rpcgen -C -h $*.x -o $*.h && rpcgen -C -c $*.x -o $*_xdr.c

$(BUILD)/gen/oracle/tables.h: $(oracle-names:%=$(BUILD)/gen/oracle/%_xdr.c)
	@{ printf '#include "%s-table.h"\n' $(oracle-names); printf '#define ORACLE_MODULES'; \
	   printf ' ORACLE_MODULE(%s)' $(oracle-names); echo; } > $@

$(oracle-names:%=$(BUILD)/obj/oracle/%_xdr.o): $(BUILD)/obj/oracle/%_xdr.o: $(BUILD)/gen/oracle/%_xdr.c
	@mkdir -p $(@D)
	@echo '  CC        $<'
	@$(oracle-cc) -c -o $@ $<

$(BUILD)/obj/oracle/oracle.o: tests/oracle/oracle.c tests/oracle/oracle.h $(BUILD)/gen/oracle/tables.h
	@mkdir -p $(@D)
	@echo '  CC        $<'
	@$(oracle-cc) -c -o $@ $<

$(BUILD)/lib/liboracle.a: $(oracle-objects)
	@mkdir -p $(@D)
	@echo '  AR        $@'
	@rm -f $@ && ar rcs $@ $^
