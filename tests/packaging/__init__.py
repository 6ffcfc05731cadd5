"""Tests of the installer and the packages."""
