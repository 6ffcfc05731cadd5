#!/bin/sh
# OpenWrt has a package architecture for each core, so this package is "noarch" and checks the processor itself. opkg stops when
# this fails. apk reports it and installs the files all the same, so post-install checks too and starts nothing.
runs_here() {
	[ -z "${IPKG_INSTROOT:-}" ] || return 0 # an image is being built, on another machine
	wanted='@ARCH@'
	machine=$(uname -m)
	case $machine in
		x86_64 | amd64) found=x86_64 ;;
		aarch64 | arm64) found=aarch64 ;;
		armv7* | armv8*) found=armv7 ;;
		*) found=$machine ;;
	esac
	# The fifth byte of an ELF file is 1 where programs have 32 bits: an arm64 kernel may run a system of 32 bits.
	if [ "$found" = aarch64 ] && [ "$(head -c 5 /bin/sh | tail -c 1)" = "$(printf '\001')" ]; then
		found=armv7
	fi
	why=''
	if [ "$found" != "$wanted" ]; then
		why="this package is for $wanted and this processor is $found ($machine)"
	elif [ "$wanted" = armv7 ] && ! grep -Eqi '^features.* (neon|asimd)( |$)' /proc/cpuinfo; then
		why='this processor has no NEON, which the agent needs'
	fi
	[ -n "$why" ] || return 0
	echo "edge-agent: $why: it cannot run here; remove it where it was installed" >&2
	return 1
}
runs_here || exit 1
