"""The delivery engine: rows, journal, router, sender, receiver, reports, deciders, trace."""
