"""64-bit ARM: newer access points, single-board computers, Jetsons."""

from agent.platforms.facts import Architecture

ARCHITECTURE = Architecture(name="aarch64", machines=("aarch64", "arm64"), engine="wasmtime")
