"""The kinds of steps: what each does with one event on this node."""
