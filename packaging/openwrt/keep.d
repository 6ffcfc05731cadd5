/etc/edge-agent/
/etc/apk/keys/edge-agent.pem
/etc/apk/repositories.d/edge-agent.list
/etc/opkg/keys/
