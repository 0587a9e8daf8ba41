"""``lcsd config``: the default configuration, and the schemas of what users write."""

import click


@click.command(epilog="Example: lcsd config > my.yaml")
@click.option(
    "--schema", type=click.Choice(["config", "pairs"]),
    help="Print the JSON schema of the configuration or of a manifest's row instead.",
)  # fmt: skip
def command(schema: str | None) -> None:
    """Print every configuration key with its default, description and unit."""
    from lcsd.config import commented_yaml, json_schema  # noqa: PLC0415

    click.echo(commented_yaml() if schema is None else json_schema(schema), nl=False)
