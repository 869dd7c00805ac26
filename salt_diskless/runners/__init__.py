"""Runners of the master."""
