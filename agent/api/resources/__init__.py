"""The resources of the local API."""
