"""Landmark files: formats of other programs, checks, proposals, and what observers agree on."""
