"""Typed settings of every stage, one module per section of the configuration."""
