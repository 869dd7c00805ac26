"""Checks of the boot server itself that are made before anything is written."""
