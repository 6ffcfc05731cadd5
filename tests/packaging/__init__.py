"""Tests of what devices get: frozen trees."""
