#!/bin/sh
# The journal and the socket are in RAM; identity and configuration stay for the next installation.
[ -z "${IPKG_INSTROOT:-}" ] || exit 0
[ "${PKG_UPGRADE:-}" != 1 ] || exit 0
rm -rf /tmp/edge-agent /var/run/edge-agent
[ ! -d /etc/edge-agent ] ||
	echo "edge-agent: the node's identity and settings stay in /etc/edge-agent; rm -r /etc/edge-agent removes them"
exit 0
