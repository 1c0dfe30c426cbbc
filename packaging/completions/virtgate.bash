# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of virtgate(1) for bash. Installed in share/bash-completion/completions/virtgate.

# _virtgate_commands - the commands that this virtgate has, from its own help.
_virtgate_commands() {
    "${COMP_WORDS[0]}" --help 2>/dev/null | awk '/^Subcommands:/ { on = 1; next } !NF { on = 0 } on && /^  [a-z]/ { print $1 }'
}

# _virtgate_options - the long options of a command.
_virtgate_options() {
    "${COMP_WORDS[0]}" help "$1" 2>/dev/null | grep -oE -- '^ +(-., ?)?--[a-z-]+' | grep -oE -- '--[a-z-]+'
}

_virtgate_fill() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <(compgen "$@")
}

_virtgate() {
    # "=" and ":" split words for readline; what stands before them in the current word must not be repeated.
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]-}
    if [ "$COMP_CWORD" -eq 1 ]; then
        _virtgate_fill -W "$(_virtgate_commands) --help --version" -- "$current"
        return
    fi
    case $command in
    help)
        [ "$COMP_CWORD" -gt 2 ] || _virtgate_fill -W "$(_virtgate_commands)" -- "$current"
        ;;
    up)
        case $before in
        --dir)
            _virtgate_fill -d -- "$current"
            compopt -o filenames
            ;;
        --key-type) _virtgate_fill -W 'ecdsa rsa ed25519' -- "$current" ;;
        --log-level) _virtgate_fill -W 'debug info warning error' -- "$current" ;;
        --tls-port) ;;
        --upstream)
            _virtgate_fill -W 'qemu test lxc storage' -S ':///' -- "$current"
            compopt -o nospace
            ;;
        --set)
            _virtgate_fill -W 'netd. workerd.' -- "$current"
            compopt -o nospace
            ;;
        =)
            # --upstream URI=SOCKET
            _virtgate_fill -f -- "$current"
            compopt -o filenames
            ;;
        *) _virtgate_fill -W "$(_virtgate_options up)" -- "$current" ;;
        esac
        ;;
    esac
}

complete -F _virtgate virtgate
