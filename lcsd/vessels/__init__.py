"""Vessel masks: backends that make them, and vessel maps given by the user."""
