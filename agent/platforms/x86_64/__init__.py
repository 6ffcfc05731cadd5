"""64-bit x86: PCs and servers."""

from agent.platforms.facts import Architecture

ARCHITECTURE = Architecture(name="x86_64", machines=("x86_64", "amd64"), engine="wasmtime")
