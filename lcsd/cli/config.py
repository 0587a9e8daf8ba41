"""``lcsd config``: the default configuration."""

import click


@click.command(epilog="Example: lcsd config > my.yaml")
def command() -> None:
    """Print every configuration key with its default, description and unit."""
    from lcsd.config import commented_yaml  # noqa: PLC0415

    click.echo(commented_yaml(), nl=False)
