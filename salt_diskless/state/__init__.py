"""The boot server's own record of what it has changed and of what it serves."""
