"""Paths and files: what is opened, compared and written, and how."""
