"""Import published datasets (docs/import.md)."""
