"""Images: a source is synced into an immutable version, and a version is published by a rename."""
