"""Fileserver backend: serves the SLS that come with the package."""
