"""How files may be read, and which reading fits the other files; nothing is switched in silence."""
