"""Thin Salt adapters; the names of the files are the API."""
