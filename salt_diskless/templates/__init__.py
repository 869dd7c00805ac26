"""The Jinja templates that boot/ renders; each reads like the file that it makes."""
