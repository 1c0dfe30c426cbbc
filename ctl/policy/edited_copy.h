// SPDX-License-Identifier: LGPL-2.1-or-later
// edited_copy - a copy of a policy file that somebody changes in an editor, in a directory of its own.
//
// Nothing of it is left behind unless somebody asks for that, also not what editors put beside a file.
//
// Trust:  the directory is made for this, with mode 0700; the editor is the user's own.
// Owns:   the directory and all that is in it.
#pragma once

#include <string>
#include <string_view>

#include "libshared/base/result.h"

namespace virtgate::ctl::policy {

class EditedCopy {
public:
    // A file `name` with `text` in a new directory in $TMPDIR or /tmp. Error: system's fault.
    static Result<EditedCopy> make(const std::string& name, std::string_view text);
    ~EditedCopy();
    EditedCopy(EditedCopy&& other) noexcept;
    EditedCopy& operator=(EditedCopy&&) = delete;

    [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

    // Runs $VISUAL, $EDITOR or "editor" on it and waits. Error: system's fault, it could not be started, or
    // did not end with 0. Keys that interrupt are for the editor alone.
    Done edit() const;

    // The copy stays for its user.
    void keep() noexcept { is_kept_ = true; }

private:
    EditedCopy(std::string directory, std::string path)
        : directory_(std::move(directory)), path_(std::move(path)) {}
    std::string directory_, path_;
    bool is_kept_ = false;
};

}  // namespace virtgate::ctl::policy
