	# The rights that cameras, containers and GPUs of this machine need beside the unit's.
	drop_in() {
		mkdir -p /etc/systemd/system/$unit.d
		ln -sf "/usr/share/edge-agent/$unit.d/$1.conf" "/etc/systemd/system/$unit.d/$1.conf"
	}
	for device in /dev/video[0-9]*; do
		if [ -e "$device" ]; then drop_in camera && break; fi
	done
	if getent group docker >/dev/null; then drop_in docker; fi
	if [ -e /dev/nvidia0 ]; then drop_in gpu; fi
