"""Puts the workflow into the wheel; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WORKFLOW = ("Snakefile", "rules", "workflow")


class BuildWithWorkflow(build_py):
    """Copies the workflow to ``lcsd/pipeline/``; an editable installation uses that of the checkout."""

    def run(self) -> None:
        """Build the package, and the folder of the workflow anew."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "lcsd", "pipeline")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in WORKFLOW:
            if Path(name).is_dir():
                shutil.copytree(name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(name, target / name)


setup(cmdclass={"build_py": BuildWithWorkflow})
