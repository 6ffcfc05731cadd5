# -- this machine ------------------------------------------------------------------------------------------------------

facts() {
    os=linux
    if [ -e /etc/openwrt_release ]; then
        os=openwrt
    elif [ -x /usr/bin/ubnt-device-info ] && [ -d /data ]; then
        os=unifi-os
    elif [ -x /usr/bin/mca-cli ] || [ -e /etc/board.info ]; then
        os=unifi-ap
    fi
    init=none
    if [ -d /run/systemd/system ]; then
        init=systemd
    elif [ -x /sbin/procd ] && [ -e /etc/rc.common ]; then
        init=procd
    elif [ -e /etc/inittab ]; then
        case $(readlink /proc/1/exe) in *busybox) init=busybox ;; esac
    fi
    libc=none
    for file in /lib/ld-musl-*.so.1; do [ -e "$file" ] && libc=musl; done
    for file in /lib*/ld-linux*.so.* /lib/*/ld-linux*.so.*; do [ -e "$file" ] && libc=glibc; done
    machine=$(uname -m)
    # The fifth byte of an ELF file is 1 for a program of 32 bits and 2 for one of 64 bits.
    bits=64
    [ "$(head -c 5 /bin/sh | tail -c 1)" != "$(printf '\001')" ] || bits=32
    arch=''
    case $machine in
        x86_64 | amd64) [ $bits = 32 ] || arch=x86_64 ;;
        aarch64 | arm64) if [ $bits = 32 ]; then arch=armv7; else arch=aarch64; fi ;;
        armv7* | armv8*) arch=armv7 ;;
    esac
    ram_free=$(awk '/^MemAvailable:/ {printf "%.0f", $2 * 1024}' /proc/meminfo)
    ram_total=$(awk '/^MemTotal:/ {printf "%.0f", $2 * 1024}' /proc/meminfo)
}

# Where things go. The packages of a system use the same folders under /opt, /etc and /var.
paths() {
    base=/opt/$program etc=/etc/$program state=/var/lib/$program volatile='' ram=0
    run=/run/$program
    [ $os != openwrt ] || { state=$etc volatile=/tmp/$program run=/var/run/$program; }
    case ":$PATH:$init" in
        *:/usr/local/bin:* | *:systemd) bin=/usr/local/bin ;;
        *) bin=/usr/bin ;;
    esac
    # A console with UniFi OS loses /opt, /etc and /usr at each update, and keeps /data.
    kept=''
    [ $os != unifi-os ] || kept=/data/$program
}

# A package of the system is the system's to change.
not_a_package() {
    for found in "/var/lib/dpkg/info/$program.list:dpkg" "/usr/lib/opkg/info/$program.list:opkg" "/lib/apk/packages/$program.list:apk"; do
        [ ! -e "${found%:*}" ] || fail "$program is installed as a package of ${found##*:}: use ${found##*:} to upgrade and to remove it"
    done
}

supported() {
    [ "$(uname -s)" = Linux ] || fail "this runs on Linux, not on $(uname -s)"
    case $machine in mips*) unsupported_mips ;; esac
    [ -n "$arch" ] ||
        fail "there is no edge-agent for the processor of this machine ($machine, $bits bits); its log can go to a node as syslog: docs/access-points.md"
    if [ "$arch" = armv7 ] && ! grep -Eqi '^features.* (neon|asimd)( |$)' /proc/cpuinfo; then
        fail "this processor has no NEON, which the agent needs; its log can go to a node as syslog: docs/access-points.md"
    fi
    for tool in awk df grep head mkdir mv rm sed sha256sum tar tr; do
        has "$tool" || fail "this machine has no $tool, which the installer needs"
    done
}

# The exact lines for a machine that can send its log but cannot run an agent.
unsupported_mips() {
    neighbour=$(printf '%s' "${from#*://}" | sed 's/[:/#].*//')
    case $from in http*) ;; *) neighbour='' ;; esac
    [ -n "$neighbour" ] || neighbour=NODE
    say "This machine's processor ($machine) cannot run an agent. Let it send its log to a node instead:"
    say ''
    case $os in
        openwrt)
            say "  uci set system.@system[0].log_ip='$neighbour'; uci set system.@system[0].log_port='5514'; uci set system.@system[0].log_proto='udp'; uci commit system; /etc/init.d/log restart"
            ;;
        unifi*)
            say "  In the Network application: Settings, System, Remote Logging: syslog server, host $neighbour, port 5514"
            ;;
        *) say "  syslogd -R $neighbour:5514" ;;
    esac
    say ''
    say "On $neighbour, a pipeline's step reads it: tail: {syslog: \"udp://:5514\", allow: [ADDRESS OF THIS MACHINE]}"
    say "docs/access-points.md has the whole pipeline, and the settings of other vendors."
    fail "nothing was changed: there is no edge-agent for $machine"
}
