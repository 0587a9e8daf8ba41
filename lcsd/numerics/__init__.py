"""Numerical building blocks that several packages share; each knows arrays only, no files and no settings."""
