"""The words of the design as structs: no I/O, nothing of ours imported but the errors."""
