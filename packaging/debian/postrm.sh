#!/bin/sh
# `remove` keeps configuration and state for the next installation; `purge` removes them, with the user and the group.
set -e
unit=@PROGRAM@.service
case $1 in remove | purge) ;; *) exit 0 ;; esac
rm -f /etc/systemd/system/multi-user.target.wants/$unit
if [ "$1" = purge ]; then
	for name in camera docker gpu; do rm -f /etc/systemd/system/$unit.d/$name.conf; done
	rmdir /etc/systemd/system/$unit.d 2>/dev/null || true
	rm -rf /var/lib/@PROGRAM@ /etc/@PROGRAM@ /run/@PROGRAM@
	if getent passwd @PROGRAM@ >/dev/null; then userdel @PROGRAM@ 2>/dev/null || true; fi
	# shellcheck disable=SC2043  # one of the programs has one group
	for group in @ITS_GROUPS@; do
		if getent group $group >/dev/null; then groupdel $group 2>/dev/null || true; fi
	done
fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
exit 0
