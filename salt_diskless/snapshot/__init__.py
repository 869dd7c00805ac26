"""Snapshots: one directory per node, with what that node may write."""
