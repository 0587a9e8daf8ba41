"""The local demo: a page on which two clouds or scans are registered, and its API (docs/serve.md)."""
