"""The report of a build: tables, figures and one self-contained page."""
