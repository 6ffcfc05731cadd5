#!/bin/sh
# Makes the user, the group and the state folder of @PROGRAM@, and starts it where systemd runs.
set -e
[ "$1" = configure ] || exit 0
unit=@PROGRAM@.service
getent group @PROGRAM@ >/dev/null || groupadd --system @PROGRAM@
getent passwd @PROGRAM@ >/dev/null ||
	useradd --system --gid @PROGRAM@ --no-create-home --home-dir /var/lib/@PROGRAM@ --shell /usr/sbin/nologin @PROGRAM@
@GROUPS@
[ -d /var/lib/@PROGRAM@ ] || install -d -m 0700 -o @PROGRAM@ -g @PROGRAM@ /var/lib/@PROGRAM@
if [ -z "$2" ]; then # the first installation; an upgrade leaves the choices of an administrator
	@DROP_INS@
	if command -v systemctl >/dev/null && [ -e "/lib/systemd/system/$unit" ]; then systemctl enable --quiet "$unit"; fi
	action=start
else
	action=try-restart
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl "$action" "$unit" || echo "@PROGRAM@: the service did not $action: journalctl -u $unit" >&2
fi
exit 0
