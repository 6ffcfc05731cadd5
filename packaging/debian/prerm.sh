#!/bin/sh
# Stops @PROGRAM@ before its files go; an upgrade restarts it afterwards.
set -e
case $1 in remove | deconfigure) ;; *) exit 0 ;; esac
if [ -d /run/systemd/system ]; then systemctl stop @PROGRAM@.service || true; fi
exit 0
