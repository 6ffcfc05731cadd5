#!/bin/sh
# Removes a program that install.sh installed: the service, its files, its configuration, its state and its user.
set -u

main() {
    program=${1:-}
    case ${0##*/} in *-uninstall) program=${0##*/} program=${program%-uninstall} ;; esac
    case $program in edge-agent | edge-sink) ;; *) echo 'uninstall: of which program?' >&2 && exit 2 ;; esac
    [ "${2:-}" = quiet ] || echo "removing $program, its configuration and its state"
    if [ "$(id -u)" -ne 0 ]; then
        echo 'uninstall: this needs root' >&2
        exit 1
    fi
    if [ -d /run/systemd/system ]; then
        systemctl disable --now "$program" "$program-upgrade.path" >/dev/null 2>&1
    elif [ -x "/etc/init.d/$program" ]; then
        "/etc/init.d/$program" stop >/dev/null 2>&1
        "/etc/init.d/$program" disable >/dev/null 2>&1
    fi
    if grep -q ":/etc/$program/run" /etc/inittab 2>/dev/null; then
        without ":/etc/$program/run" /etc/inittab
        kill -HUP 1
    fi
    stop "/run/$program.runner/run.pid"
    stop "/var/run/$program.runner/run.pid"
    made=$(sed -n 's/^made=//p' "/etc/$program/install.conf" 2>/dev/null)
    rm -rf "/etc/systemd/system/$program.service" "/etc/systemd/system/$program.service.d" \
        "/etc/systemd/system/$program-upgrade.service" "/etc/systemd/system/$program-upgrade.path" "/etc/init.d/$program" \
        "/lib/upgrade/keep.d/$program" "/data/on_boot.d/50-$program.sh" "/data/$program" \
        "/usr/local/bin/$program" "/usr/bin/${program:?}" "/opt/$program" "/etc/${program:?}" "/var/lib/$program" \
        "/run/$program" "/var/run/$program" "/run/$program.runner" "/var/run/$program.runner" "/tmp/$program" "/tmp/$program-tree"
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
    remove_user
    rm -f "/usr/local/bin/$program-uninstall" "/usr/bin/$program-uninstall"
    for folder in $made; do rmdir "$folder" 2>/dev/null; done
    [ "${2:-}" = quiet ] || echo "$program is removed; an operator makes its mesh forget it: edge-agent node remove NAME"
}

stop() {
    pid=$(cat "$1" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 1
    done
    kill -KILL "$pid" 2>/dev/null
}

# without TEXT FILE: the file without the lines that contain TEXT, with its owner and mode.
without() {
    left=$(grep -v "$1" "$2")
    printf '%s\n' "$left" >"$2"
}

remove_user() {
    id -u "$program" >/dev/null 2>&1 || return 0
    if command -v userdel >/dev/null 2>&1; then
        userdel "$program" 2>/dev/null
        if grep -q "^$program:" /etc/group; then groupdel "$program"; fi
        if [ "$program" = edge-agent ] && grep -q '^edge-operator:[^:]*:[^:]*:$' /etc/group; then groupdel edge-operator; fi
        return 0
    fi
    for file in /etc/passwd /etc/group /etc/shadow; do
        [ ! -e "$file" ] || without "^$program:" "$file"
    done
}

{ main "$@"; }
