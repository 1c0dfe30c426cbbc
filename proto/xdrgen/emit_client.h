// SPDX-License-Identifier: LGPL-2.1-or-later
// emit_client - NAME_client.h: a program as an object of functions for who calls it (libshared/client).
#pragma once

#include <string>

#include "proto/xdrgen/model.h"

namespace virtgate::proto::xdrgen {

// True if the module has a program that others than our own processes call.
[[nodiscard]] bool has_client(const Module& module);

// The text of NAME_client.h. Only of modules that has_client() is true for.
[[nodiscard]] std::string emit_client(const Model& model, const Module& module);

}  // namespace virtgate::proto::xdrgen
