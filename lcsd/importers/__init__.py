"""Published datasets turned into our files (docs/import.md)."""
