"""Diskless clusters as a Salt extension: one pillar, one state, nodes that boot."""

__version__ = "0.1.0"
