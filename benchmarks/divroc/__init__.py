"""Studies of DiVRoC: speed, extrapolation, resolutions, settings, methods."""
