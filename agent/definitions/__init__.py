"""Pipelines as written: loading, checking, schema, expressions, versions."""
