// SPDX-License-Identifier: LGPL-2.1-or-later
// common - headers of libraries that nearly every file includes, compiled once for all of them (scripts/build.mk).
//
// Nothing may rely on it: each file includes what it uses, and "make PRECOMPILE=no" builds without it.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <unordered_map>
#include <vector>
