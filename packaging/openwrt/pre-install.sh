#!/bin/sh
# OpenWrt has a package architecture for each core, so this package is "noarch" and looks at the processor itself.
[ -z "${IPKG_INSTROOT:-}" ] || exit 0
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
if [ "$found" != "$wanted" ]; then
	echo "edge-agent: this package is for $wanted and this processor is $found ($machine): nothing was installed" >&2
	exit 1
fi
if [ "$wanted" = armv7 ] && ! grep -Eqi '^features.* (neon|asimd)( |$)' /proc/cpuinfo; then
	echo "edge-agent: this processor has no NEON, which the agent needs: nothing was installed" >&2
	exit 1
fi
exit 0
