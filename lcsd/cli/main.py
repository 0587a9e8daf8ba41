"""The console script ``lcsd``: finds and runs a command."""

from importlib import import_module

import click

from lcsd import __version__
from lcsd.errors import suggestion
from lcsd.numerics.memory import collect_rarely, keep_freed_memory

COMMANDS = {
    "init": "Write a configuration and a manifest to start from.",
    "run": "Build a dataset from a manifest, or resume its build.",
    "phantom": "Make synthetic longitudinal lung CT pairs with known truth.",
    "cohort": "Choose pairs of NLST scans from the index of the Imaging Data Commons.",
    "fetch": "Download series of the Imaging Data Commons and verify them.",
    "screen": "Judge one candidate pair: lungs, their overlap after alignment, plausibility.",
    "select": "Choose the pairs with the strongest motion, and the test cases.",
    "convert": "Turn one scan (DICOM series or NIfTI) into one checked volume.",
    "lungs": "Segment the lungs of a CT scan.",
    "prealign": "Align two scans rigidly and resample both to the common grid.",
    "vessels": "Segment the lung vessels of a scan in the common grid.",
    "gates": "Judge whether the vessel masks of a pair are plausible.",
    "cloud": "Turn a vessel mask into a dense point cloud.",
    "keypoints": "Choose the sparse cloud from a dense one.",
    "correspond": "Find image-based correspondences with corrfield.",
    "register": "Register two point clouds with DiVRoC.",
    "train": "Train a network that guesses the motion between two clouds.",
    "models": "List and show models of networks.",
    "register-images": "Register two scans by one of several published methods.",
    "serve": "Serve a page on which two clouds or scans are registered.",
    "evaluate": "Score a registration at landmarks.",
    "quality": "Score a registration without landmarks.",
    "warp": "Warp points, images and masks by transforms.",
    "transform": "Convert transforms between the conventions of programs.",
    "landmarks": "Convert, check, propose and compare landmark files.",
    "import": "Turn a published dataset into our files.",
    "compare": "Compare the methods of one or several builds.",
    "report": "Write the report of a build.",
    "release": "Write the publishable dataset of a build.",
    "export": "Write results of a build for a challenge or a DICOM viewer.",
    "status": "Show the progress of a build, its pace and what failed.",
    "case": "Show one case of a build, explain what the next run rebuilds, or rebuild it.",
    "verify": "Compare a release or a build with its checksums.",
    "doctor": "Check whether this machine has what a build needs.",
    "estimate": "Estimate how long a build takes and what it needs, from a finished build.",
    "weights": "Show, fetch and check the weights of TotalSegmentator.",
    "config": "Print the default configuration with descriptions.",
}


MODULES = {"import": "import_", "register-images": "register_images"}
"""Modules that cannot have the name of their command."""


class LazyGroup(click.Group):
    """Imports a command's module only when that command runs, so that help is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands in the order of the pipeline."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"lcsd.cli.{MODULES.get(cmd_name, cmd_name)}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of a call; an unknown name is answered by the most similar one."""
        near = suggestion(args[0], COMMANDS)
        if args[0] not in COMMANDS and near:
            ctx.fail(f"No such command {args[0]!r}; {near}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Longitudinal lung CT pairs to vessel clouds, correspondences and registration."""
    keep_freed_memory()
    collect_rarely()
