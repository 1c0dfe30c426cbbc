// SPDX-License-Identifier: LGPL-2.1-or-later
// edited_copy - a copy of a policy file that somebody changes in an editor.
#include "ctl/policy/edited_copy.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "ctl/files.h"

namespace virtgate::ctl::policy {

namespace {

// While it lives, SIGINT and SIGQUIT do not end this process: they are meant for the editor on the same
// terminal.
class KeysIgnored {
public:
    KeysIgnored() noexcept {
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        sigaction(SIGINT, &ignore, &interrupt_);
        sigaction(SIGQUIT, &ignore, &quit_);
    }
    ~KeysIgnored() { restore(); }
    KeysIgnored(const KeysIgnored&) = delete;
    KeysIgnored& operator=(const KeysIgnored&) = delete;
    void restore() const noexcept {
        sigaction(SIGINT, &interrupt_, nullptr);
        sigaction(SIGQUIT, &quit_, nullptr);
    }

private:
    struct sigaction interrupt_ {
    }, quit_{};
};

const char* chosen_editor() noexcept {
    for (const char* name : {"VISUAL", "EDITOR"})
        if (const char* editor = std::getenv(name); editor != nullptr && *editor != '\0') return editor;
    return "editor";
}

}  // namespace

Result<EditedCopy> EditedCopy::make(const std::string& name, std::string_view text) {
    const char* chosen = std::getenv("TMPDIR");
    std::string directory =
        std::string(chosen != nullptr && *chosen == '/' ? chosen : "/tmp") + "/virtgate-policy-XXXXXX";
    if (mkdtemp(directory.data()) == nullptr)
        return system_fault(errno, "cannot make a directory for the copy");
    EditedCopy copy(directory, directory + "/" + name);
    if (const Done done = write_new_file(copy.path_, text, 0600); !done) return tl::unexpected(done.error());
    return copy;
}

EditedCopy::EditedCopy(EditedCopy&& other) noexcept
    : directory_(std::exchange(other.directory_, {})),
      path_(std::move(other.path_)),
      is_kept_(other.is_kept_) {}

EditedCopy::~EditedCopy() {
    std::error_code ignored;
    if (!directory_.empty() && !is_kept_) std::filesystem::remove_all(directory_, ignored);
}

Done EditedCopy::edit() const {
    const KeysIgnored keys;
    const pid_t child = fork();
    if (child == 0) {
        keys.restore();
        // $EDITOR may have options: the shell takes it apart, and nothing else.
        execl("/bin/sh", "sh", "-c", "exec $0 \"$1\"", chosen_editor(), path_.c_str(), nullptr);
        _exit(127);
    }
    if (child < 0) return system_fault(errno, "cannot start an editor");
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return system_fault(errno, "cannot wait for the editor");
    if (status != 0) return system_fault(0, "the editor failed");
    return {};
}

}  // namespace virtgate::ctl::policy
