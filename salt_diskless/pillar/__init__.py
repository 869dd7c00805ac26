"""External pillars."""
