"""A boot server's services: what they read is rendered, compared, checked, and only then live."""
