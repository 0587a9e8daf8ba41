"""The publishable dataset of a build: files, descriptions, checksums, nothing of a patient."""
