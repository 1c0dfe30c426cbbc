# SPDX-License-Identifier: LGPL-2.1-or-later
# Code from inventory.x for test-service. The programs themselves are built from docs/guides/programs.md, word for word, by
# tests/system/test_programs.py.
LIBRARIES += inventory-proto
inventory-proto_SOURCES := $(BUILD)/gen/proto/inventory.cc
inventory-made := $(addprefix $(BUILD)/gen/proto/inventory,.h .cc .schema _client.h)
GENERATED += $(filter-out %.schema,$(inventory-made))
$(BUILD)/gen/stamp/example-inventory: examples/inventory/inventory.x $(BUILD)/xdrgen
	@echo '  XDRGEN    $<'
	@mkdir -p $(@D) $(BUILD)/gen/proto
	$(Q)$(BUILD)/xdrgen --out $(BUILD)/gen/proto $< && touch $@
$(inventory-made): $(BUILD)/gen/stamp/example-inventory ;
