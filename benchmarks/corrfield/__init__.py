"""Studies of corrfield; each module is one command."""
