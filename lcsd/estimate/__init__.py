"""How long a build takes and what it needs, from the figures of a finished one."""
