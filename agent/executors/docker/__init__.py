"""Docker programs: one warm container per step and node, without a network, fed over its stdin."""
