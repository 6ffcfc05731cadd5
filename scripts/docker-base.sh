#!/bin/sh
# Makes a base image of a minimal Debian 12, from the mirror that apt uses.
#
#   docker-base.sh [base|systemd] [--force]     exit 0 when the image is there
#
#   base       edge/base:bookworm: python3 and venv, for the detector (default)
#   systemd    edge/systemd:bookworm: systemd as its first process, for tests (hil/standins/systemd.py)
#
# Once made it is kept as a tar in ${XDG_CACHE_HOME:-~/.cache}/edge-agent, so that a later run only imports it (3 s
# instead of a minute). The image carries the recipe's hash as a label: another recipe makes another image.
set -eu

suite=bookworm
cache=${XDG_CACHE_HOME:-$HOME/.cache}/edge-agent

say() { printf 'docker-base: %s\n' "$*"; }
fail() { printf 'docker-base: %s\n' "$*" >&2; exit 1; }

kind=base
force=
for option in "$@"; do
    case $option in
    base | systemd) kind=$option ;;
    --force) force=1 ;;
    *) fail "unknown option $option (there are base, systemd and --force)" ;;
    esac
done
case $kind in
base)
    packages=python3,python3-venv
    command=python3
    ;;
systemd)
    packages=systemd,systemd-sysv,dbus,python3,ca-certificates,curl,wget,dropbear-bin,iproute2,openssl,procps,sudo,xz-utils
    command=/lib/systemd/systemd
    ;;
esac
image=edge/$kind:$suite
step() { now=$(date +%s); say "$((now - began)) s  $*"; }

# The mirror as apt itself resolves it (sources.list and deb822 files alike), for Debian's main archive of this suite.
mirror() {
    apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$suite" '$1 == suite && $2 == "main" {print $3; exit}'
}

apt_proxy() { apt-config dump 2>/dev/null | sed -n "s/^Acquire::$1::Proxy \"\\(.*\\)\";/\\1/p"; }

bootstrap() {
    target=$1
    uri=$(mirror)
    [ -n "$uri" ] || fail "apt knows no mirror for Debian $suite (apt-get update has not run, or this is no Debian $suite)"
    [ -n "${http_proxy:-}" ] || { p=$(apt_proxy http); [ -z "$p" ] || export http_proxy="$p"; }
    [ -n "${https_proxy:-}" ] || { p=$(apt_proxy https); [ -z "$p" ] || export https_proxy="$p"; }
    step "debootstrap $suite with ${packages} (about a minute)"
    log=$target.log
    if ! nice debootstrap --variant=minbase --include="$packages" "$suite" "$target" "$uri" >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        [ ! -s "$target/debootstrap/debootstrap.log" ] || tail -n 5 "$target/debootstrap/debootstrap.log" >&2
        fail "debootstrap failed"
    fi
    # No program in a container reads these files; they are about a third of the image.
    rm -rf "$target"/var/cache/apt/* "$target"/var/lib/apt/lists/* "$target"/var/log/* "$target"/usr/share/man/* \
        "$target"/usr/share/info/* "$target"/usr/share/locale/* "$target"/usr/share/lintian "$target"/tmp/* \
        "$target"/etc/machine-id "$target"/etc/resolv.conf "$target"/etc/hostname
    find "$target"/usr/share/doc -type f ! -name copyright -delete
    find "$target" -xdev -name __pycache__ -type d -prune -exec rm -rf {} +
}

build_tar() {
    [ "$(id -u)" = 0 ] || fail "making the base image needs root (debootstrap makes device nodes and owners): sudo $0"
    command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
    work=$(mktemp -d "${TMPDIR:-/tmp}/edge-base.XXXXXX")
    trap 'rm -rf --one-file-system "$work"' EXIT INT TERM
    bootstrap "$work/root"
    step "packing"
    tar --numeric-owner --one-file-system -C "$work/root" -c . | gzip -1 >"$tar.part"
    sync "$tar.part"
    mv "$tar.part" "$tar"
}

command -v docker >/dev/null || fail "no docker client is installed; on Debian: apt-get install docker.io"
docker info >/dev/null 2>&1 || fail "no Docker engine answers; start one: $(dirname "$0")/docker-engine.sh"

# A change of one kind's packages must not make the other's image again.
recipe=$({ echo "$suite $packages $command"; sed -n '/^bootstrap() {/,/^}/p' "$0"; } | sha256sum | cut -c1-16)
began=$(date +%s)
mkdir -p "$cache"
exec 9>"$cache/$kind.lock"
flock 9
have=$(docker image inspect --format '{{index .Config.Labels "edge.recipe"}}' "$image" 2>/dev/null || true)
if [ -z "$force" ] && [ "$have" = "$recipe" ]; then
    say "$image is there"
    exit 0
fi
tar=$cache/$kind-$suite-$(dpkg --print-architecture)-$recipe.tar.gz
if [ -n "$force" ] || [ ! -s "$tar" ]; then
    build_tar
fi
step "importing $(basename "$tar")"
docker import --change "CMD [\"$command\"]" --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' --change "LABEL edge.recipe=$recipe" "$tar" "$image" >/dev/null
step "$image is there ($(($(docker image inspect --format '{{.Size}}' "$image") / 1000000)) MB)"
