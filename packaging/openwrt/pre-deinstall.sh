#!/bin/sh
# Stops and disables the service, as every package of OpenWrt does.
[ -s "${IPKG_INSTROOT:-}/lib/functions.sh" ] || exit 0
# shellcheck source=/dev/null
. "${IPKG_INSTROOT:-}/lib/functions.sh"
export root="${IPKG_INSTROOT:-}" pkgname=edge-agent
default_prerm "$0" "$@"
