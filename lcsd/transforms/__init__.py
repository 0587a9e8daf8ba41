"""Transforms of any program, applied to points and images."""
