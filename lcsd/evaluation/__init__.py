"""Landmark errors, quality of displacement fields, and statistics over cases."""
