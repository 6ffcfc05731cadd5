"""32-bit ARM: small access points and old single-board computers."""

from agent.platforms.facts import Architecture

# A 64-bit kernel under a 32-bit system says armv8l. wasmtime has no wheel for either.
ARCHITECTURE = Architecture(name="armv7", machines=("armv7l", "armv7", "armv8l"), engine="wasm3")
