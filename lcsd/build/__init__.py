"""The plan and the records of a build: files, jobs, inventory, verdicts, rejections, provenance.

This file imports nothing: the Snakefile loads :mod:`lcsd.build.plan` and must not load numpy.
"""
