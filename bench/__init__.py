"""The figures that the design promises, measured with the real parts: one module per figure (README.md)."""
