"""Process programs: the step contract for a plain executable of this host."""
