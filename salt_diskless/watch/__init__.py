"""What the boot server's daemons logged of machines: read once, kept, and told."""
