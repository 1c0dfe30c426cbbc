# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of virtgate(1) for bash. Installed in share/bash-completion/completions/virtgate.

# _virtgate_commands - the commands that this virtgate, or one of its commands, has: from its own help.
_virtgate_commands() {
    "${COMP_WORDS[0]}" help "$@" 2>/dev/null | awk '/^Subcommands:/ { on = 1; next } !NF { on = 0 } on && /^  [a-z]/ { print $1 }'
}

# _virtgate_options - the long options of a command, or of a command of it.
_virtgate_options() {
    "${COMP_WORDS[0]}" help "$@" 2>/dev/null | grep -oE -- '^ +(-., ?)?--[a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+'
}

_virtgate_fill() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <(compgen "$@")
}

# _virtgate_names - the names for which the authority in --dir has issued something.
_virtgate_names() {
    local directory=() i
    for ((i = 2; i < COMP_CWORD; i++)); do
        [ "${COMP_WORDS[i]}" != --dir ] || directory=(--dir "${COMP_WORDS[i + 1]}")
    done
    "${COMP_WORDS[0]}" pki list "${directory[@]}" 2>/dev/null |
        awk '$1 == "server" || $1 == "client" { sub(/,$/, "", $2); print $2 }' | sort -u
}

_virtgate_pki() {
    local current=$1 before=$2 command=${COMP_WORDS[2]-}
    if [ "$COMP_CWORD" -eq 2 ]; then
        _virtgate_fill -W "$(_virtgate_commands pki)" -- "$current"
        return
    fi
    case $before in
    --dir | --pkipath | --to)
        _virtgate_fill -d -- "$current"
        compopt -o filenames
        ;;
    --ca | --certificate | --key | --output)
        _virtgate_fill -f -- "$current"
        compopt -o filenames
        ;;
    --key-type) _virtgate_fill -W 'ecdsa ed25519 rsa' -- "$current" ;;
    --user) _virtgate_fill -u -- "$current" ;;
    --days | --organisation | --name | --priority | --timeout) ;;
    *)
        case $command:$current in
        *:-*) _virtgate_fill -W "$(_virtgate_options pki "$command")" -- "$current" ;;
        renew:* | revoke:* | export:* | install:*) _virtgate_fill -W "$(_virtgate_names)" -- "$current" ;;
        check:*)
            if [ "$before" = --crl ]; then
                _virtgate_fill -f -- "$current"
                compopt -o filenames
            else
                _virtgate_fill -A hostname -- "$current"
            fi
            ;;
        esac
        ;;
    esac
}

# _virtgate_users - the users in the file of --file.
_virtgate_users() {
    local file=() i
    for ((i = 2; i < COMP_CWORD; i++)); do
        [ "${COMP_WORDS[i]}" != --file ] || file=(--file "${COMP_WORDS[i + 1]}")
    done
    "${COMP_WORDS[0]}" passwd list "${file[@]}" 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_virtgate_passwd() {
    local current=$1 before=$2 command=${COMP_WORDS[2]-}
    if [ "$COMP_CWORD" -eq 2 ]; then
        _virtgate_fill -W "$(_virtgate_commands passwd)" -- "$current"
        return
    fi
    case $before in
    --file)
        _virtgate_fill -f -- "$current"
        compopt -o filenames
        ;;
    --digest-md5) _virtgate_fill -A hostname -- "$current" ;;
    *)
        case $command:$current in
        *:-*) _virtgate_fill -W "$(_virtgate_options passwd "$command")" -- "$current" ;;
        set:* | delete:* | check:*) _virtgate_fill -W "$(_virtgate_users)" -- "$current" ;;
        esac
        ;;
    esac
}

# _virtgate_policy_show - the first words of what "virtgate policy show" prints, for the policy in --dir.
_virtgate_policy_show() {
    local directory=() i
    for ((i = 2; i < COMP_CWORD; i++)); do
        [ "${COMP_WORDS[i]}" != --dir ] || directory+=(--dir "${COMP_WORDS[i + 1]}")
    done
    "${COMP_WORDS[0]}" policy show "${directory[@]}" "$@" 2>/dev/null | awk '{ sub(/^remote\./, "", $1); print $1 }'
}

_virtgate_policy() {
    local current=$1 before=$2 command=${COMP_WORDS[2]-}
    if [ "$COMP_CWORD" -eq 2 ]; then
        _virtgate_fill -W "$(_virtgate_commands policy)" -- "$current"
        return
    fi
    case $before in
    --dir)
        _virtgate_fill -d -- "$current"
        compopt -o filenames
        ;;
    --cert | --file)
        _virtgate_fill -f -- "$current"
        compopt -o filenames
        ;;
    --listener) _virtgate_fill -W 'tls tcp unix unix-ro' -- "$current" ;;
    --mech) _virtgate_fill -W 'SCRAM-SHA-256 SCRAM-SHA-512 GSSAPI PLAIN' -- "$current" ;;
    --tls) _virtgate_fill -W '1.3' -- "$current" ;;
    --at | --since) _virtgate_fill -W '15m 2h 24h 7d 30d 90d' -- "$current" ;;
    --identity) _virtgate_fill -W "$(_virtgate_policy_show)" -- "$current" ;;
    --san-dns) _virtgate_fill -A hostname -- "$current" ;;
    --subject | --sasl | --source | --strength | --uid | --gid | --as-of) ;;
    *)
        case $command:$current in
        *:-*) _virtgate_fill -W "$(_virtgate_options policy "$command")" -- "$current" ;;
        check:* | diff:* | test:*)
            _virtgate_fill -d -- "$current"
            compopt -o filenames
            ;;
        edit:*)
            _virtgate_fill -f -- "$current"
            compopt -o filenames
            ;;
        show:*) _virtgate_fill -W "$(_virtgate_policy_show --groups)" -- "$current" ;;
        explain:* | who-can:*)
            case $before in
            [A-Z]*)
                _virtgate_fill -W 'domain network pool volume secret nodedev interface nwfilter path migrate_uri lock flags' \
                    -S = -- "$current"
                compopt -o nospace
                ;;
            =) ;;
            *) _virtgate_fill -W "$(_virtgate_policy_show @admin)" -- "$current" ;;
            esac
            ;;
        esac
        ;;
    esac
}

_virtgate_audit() {
    local current=$1 before=$2
    case $before in
    --file)
        _virtgate_fill -f -- "$current"
        compopt -o filenames
        ;;
    --since | --until) _virtgate_fill -W '15m 1h 2h 24h 7d' -- "$current" ;;
    --object)
        _virtgate_fill -W 'domain network pool volume secret nodedev interface nwfilter path' -S = -- "$current"
        compopt -o nospace
        ;;
    --identity | --procedure | --session | --last) ;;
    *) _virtgate_fill -W "$(_virtgate_options audit)" -- "$current" ;;
    esac
}

# _virtgate_locks_shown COLUMN [OPTION]... - a column of what "virtgate locks" prints, for the daemon that the line names.
_virtgate_locks_shown() {
    local where=() i column=$1
    shift
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --socket | --dir) where=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}") ;;
        esac
    done
    "${COMP_WORDS[0]}" locks "$@" "${where[@]}" 2>/dev/null | awk -v column="$column" 'NR > 1 { print $column }' | sort -u
}

_virtgate_locks() {
    local current=$1 before=$2 command=${COMP_WORDS[2]-}
    case $before in
    --dir)
        _virtgate_fill -d -- "$current"
        compopt -o filenames
        ;;
    --socket)
        _virtgate_fill -f -- "$current"
        compopt -o filenames
        ;;
    --space) _virtgate_fill -W "$(_virtgate_locks_shown 1 spaces)" -- "$current" ;;
    --owner) _virtgate_fill -W "$(_virtgate_locks_shown 5 list)" -- "$current" ;;
    --reason) ;;
    locks) _virtgate_fill -W "$(_virtgate_commands locks) $(_virtgate_options locks)" -- "$current" ;;
    break) _virtgate_fill -W "$(_virtgate_locks_shown 1 spaces)" -- "$current" ;;
    *)
        case $command:$current in
        list:-* | spaces:-* | break:-*) _virtgate_fill -W "$(_virtgate_options locks "$command")" -- "$current" ;;
        *:-*) _virtgate_fill -W "$(_virtgate_options locks)" -- "$current" ;;
        break:*) _virtgate_fill -W "$(_virtgate_locks_shown 2 list --space "$before")" -- "$current" ;;
        esac
        ;;
    esac
}

_virtgate_config() {
    local current=$1 before=$2 command=${COMP_WORDS[2]-}
    case $before:$current in
    --config:*)
        _virtgate_fill -f -- "$current"
        compopt -o filenames
        ;;
    config:*) _virtgate_fill -W "$(_virtgate_commands config) $(_virtgate_options config)" -- "$current" ;;
    *:-*) _virtgate_fill -W "$(_virtgate_options config "$command")" -- "$current" ;;
    *) _virtgate_fill -W 'netd workerd lockd' -- "$current" ;;
    esac
}

_virtgate_sandbox() {
    local current=$1 before=$2
    case $before:$current in
    *:-*) _virtgate_fill -W "$(_virtgate_options sandbox)" -- "$current" ;;
    --calls:*)
        _virtgate_fill -W 'netd gate keeper doorman sasl sasl-exchange announcer steward exporter workerd policy-compile worker auditor store lockd locker leaser' -- "$current"
        ;;
    *) _virtgate_fill -W "$(_virtgate_options sandbox)" -- "$current" ;;
    esac
}

# _virtgate_asked COMMAND... - what a server says, of the URI on the command line; nothing if it does not answer soon.
_virtgate_asked() {
    local where=() i
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -c | --connect) where=(-c "${COMP_WORDS[i + 1]}") ;;
        esac
    done
    "${COMP_WORDS[0]}" "$@" "${where[@]}" --connect-timeout 2 2>/dev/null </dev/null
}

# _virtgate_place - which argument, options and their values not counted, is being typed.
_virtgate_place() {
    local i place=0
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -c | -e | -i | -n | --connect | --connect-timeout | --count | --devname | --domain | --escape | --interval | --length | \
            --linger | --offset | --programs | --schema | --socket | --stream | --timeout | --type) ((i++)) ;;
        -?*) ;;
        *) ((place++)) ;;
        esac
    done
    echo "$place"
}

# _virtgate_tools - call, list, ping, events, console, upload, download.
_virtgate_tools() {
    local current=$1 before=$2 command=$3
    case $before in
    --schema | --socket | --stream)
        _virtgate_fill -f -- "$current"
        compopt -o filenames
        return
        ;;
    --programs)
        _virtgate_fill -d -- "$current"
        compopt -o filenames
        return
        ;;
    --type)
        _virtgate_fill -W "$("${COMP_WORDS[0]}" events --list-types 2>/dev/null | awk '{ print $1 }')" -- "$current"
        return
        ;;
    --domain)
        _virtgate_fill -W "$(_virtgate_asked list | awk 'NR > 1 { print $1 }')" -- "$current"
        return
        ;;
    -c | -e | -i | -n | --connect | --connect-timeout | --count | --devname | --escape | --interval | --length | --linger | --offset | \
        --timeout) return ;;
    esac
    case $command.$(_virtgate_place):$current in
    *:-*) _virtgate_fill -W "$(_virtgate_options "$command")" -- "$current" ;;
    call.0:*)
        # Also of the programs that the command line names.
        local more=() i
        for ((i = 2; i < COMP_CWORD; i++)); do
            case ${COMP_WORDS[i]} in
            --schema | --programs) more+=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}") ;;
            esac
        done
        if [ "$before" = --list ]; then
            _virtgate_fill -W "$("${COMP_WORDS[0]}" call "${more[@]}" --list 2>/dev/null | sed 's/\..*//' | sort -u)" -- "$current"
        else
            _virtgate_fill -W "$("${COMP_WORDS[0]}" call "${more[@]}" --list 2>/dev/null | awk '{ print $1 }')" -- "$current"
        fi
        ;;
    list.0:*) _virtgate_fill -W 'domains networks pools volumes interfaces node-devices secrets nwfilters' -- "$current" ;;
    list.1:*) _virtgate_fill -W "$(_virtgate_asked list pools | awk 'NR > 1 { print $1 }')" -- "$current" ;;
    console.0:*) _virtgate_fill -W "$(_virtgate_asked list | awk 'NR > 1 { print $1 }')" -- "$current" ;;
    upload.0:* | download.0:*)
        _virtgate_fill -W "$(_virtgate_asked list volumes | awk 'NR > 1 { print $1 "/" $2 }')" -- "$current"
        ;;
    upload.1:* | download.1:*)
        _virtgate_fill -f -- "$current"
        compopt -o filenames
        ;;
    esac
}

# _virtgate_admin - what shows and changes what the daemons do.
_virtgate_admin() {
    local current=$1 before=$2 command=$3 where=() i
    for ((i = 2; i < COMP_CWORD; i++)); do
        [ "${COMP_WORDS[i]}" != --dir ] || where=(--dir "${COMP_WORDS[i + 1]}")
    done
    case $before in
    --dir)
        _virtgate_fill -d -- "$current"
        compopt -o filenames
        ;;
    --interval | --timeout | --source | --reason | --filters | --outputs) ;;
    --level) _virtgate_fill -W "debug info warning error" -- "$current" ;;
    --identity)
        _virtgate_fill -W "$("${COMP_WORDS[0]}" sessions "${where[@]}" 2>/dev/null | awk 'NR > 1 { print $2 }' | sort -u)" -- "$current"
        ;;
    *)
        case $command:$current in
        *:-*) _virtgate_fill -W "$(_virtgate_options "$command")" -- "$current" ;;
        log:*) _virtgate_fill -W "netd workerd" -- "$current" ;;
        disconnect:*)
            _virtgate_fill -W "$("${COMP_WORDS[0]}" sessions "${where[@]}" 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$current"
            ;;
        *) _virtgate_fill -W "$(_virtgate_options "$command")" -- "$current" ;;
        esac
        ;;
    esac
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
        case $COMP_CWORD:$before in
        2:*) _virtgate_fill -W "$(_virtgate_commands)" -- "$current" ;;
        3:pki) _virtgate_fill -W "$(_virtgate_commands pki)" -- "$current" ;;
        3:policy) _virtgate_fill -W "$(_virtgate_commands policy)" -- "$current" ;;
        3:locks) _virtgate_fill -W "$(_virtgate_commands locks)" -- "$current" ;;
        3:config) _virtgate_fill -W "$(_virtgate_commands config)" -- "$current" ;;
        3:passwd) _virtgate_fill -W "$(_virtgate_commands passwd)" -- "$current" ;;
        esac
        ;;
    pki) _virtgate_pki "$current" "$before" ;;
    policy) _virtgate_policy "$current" "$before" ;;
    passwd) _virtgate_passwd "$current" "$before" ;;
    audit) _virtgate_audit "$current" "$before" ;;
    locks) _virtgate_locks "$current" "$before" ;;
    status | top | sessions | disconnect | drain | log) _virtgate_admin "$current" "$before" "$command" ;;
    config) _virtgate_config "$current" "$before" ;;
    discover)
        case $before in
        --timeout) ;;
        *) _virtgate_fill -W "$(_virtgate_options discover)" -- "$current" ;;
        esac
        ;;
    trace)
        case $before:$current in
        --listen:* | --output:*)
            _virtgate_fill -f -- "$current"
            compopt -o filenames
            ;;
        *:-*) _virtgate_fill -W "$(_virtgate_options trace)" -- "$current" ;;
        trace:/*)
            _virtgate_fill -f -- "$current"
            compopt -o filenames
            ;;
        trace:*) _virtgate_fill -W "qemu:///system qemu:///session qemu+tls:// qemu+ssh:// $(_virtgate_options trace)" -- "$current" ;;
        --:*) _virtgate_fill -c -- "$current" ;;
        *) _virtgate_fill -W "$(_virtgate_options trace) --" -- "$current" ;;
        esac
        ;;
    migrate-config)
        case $before:$current in
        --output:*)
            _virtgate_fill -d -- "$current"
            compopt -o filenames
            ;;
        *:-*) _virtgate_fill -W "$(_virtgate_options migrate-config)" -- "$current" ;;
        *)
            _virtgate_fill -f -- "$current"
            compopt -o filenames
            ;;
        esac
        ;;
    sandbox) _virtgate_sandbox "$current" "$before" ;;
    call | list | ping | events | console | upload | download) _virtgate_tools "$current" "$before" "$command" ;;
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
            _virtgate_fill -W 'netd. workerd. lockd.' -- "$current"
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
