"""Tests against hardware: real devices by SSH, and stand-ins that are made on this machine."""
