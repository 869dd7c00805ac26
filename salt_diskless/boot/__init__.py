"""Cluster in, text out: every configuration file of a boot server. Pure: no Salt, no disk."""
