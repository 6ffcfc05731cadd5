"""The whole story on this machine."""
