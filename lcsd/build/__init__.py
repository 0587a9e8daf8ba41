"""What a build writes about itself: plan, jobs, inventory, verdicts, rejections, provenance.

This file imports nothing: the Snakefile loads :mod:`lcsd.build.plan` and must not load numpy.
"""
