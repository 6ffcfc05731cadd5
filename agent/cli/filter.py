"""`edge-agent filter …`: try a filter of your own before a pipeline depends on it."""
