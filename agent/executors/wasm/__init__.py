"""WASM programs: WASI preview 1 commands, a fresh instance per event or batch."""
