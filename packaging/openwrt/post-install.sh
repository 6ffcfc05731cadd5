#!/bin/sh
# Enables and starts the service, as every package of OpenWrt does.
[ "${IPKG_NO_SCRIPT:-}" = 1 ] && exit 0
[ -s "${IPKG_INSTROOT:-}/lib/functions.sh" ] || exit 0
# shellcheck source=/dev/null
. "${IPKG_INSTROOT:-}/lib/functions.sh"
export root="${IPKG_INSTROOT:-}" pkgname=edge-agent
default_postinst "$0" "$@"
result=$?
# apk stops nothing before an upgrade, and procd's start leaves a running instance with equal settings alone.
init="${IPKG_INSTROOT:-}/etc/init.d/edge-agent"
if [ "${PKG_UPGRADE:-}" = 1 ] && [ -z "${IPKG_INSTROOT:-}" ] && "$init" enabled; then
	"$init" restart
fi
exit $result
