"""The methods of the page are calls of ``lcsd register``."""

import click
import pytest

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.serve import offers
from lcsd.settings.train import NETWORKS


def test_every_method_is_a_call_of_register() -> None:
    command = main.get_command(click.Context(main), "register")
    assert command is not None
    for offer in (*offers.METHODS, *offers.OF_NETWORKS):
        given = command.make_context("register", ["a.npz", "b.npz", "--out-dir", "out", *offer.options]).params
        assert (given["method"] or "divroc") == offer.method
        named = "fast" if given["fast"] else given["refine"] or "accurate"
        assert named == offer.effort
    assert offers.method_of(None, None).effort == offers.method_of("divroc", None).effort == "fast"


@pytest.mark.parametrize("known", [(), ("unet",)])
def test_a_network_is_offered_where_its_model_ships(known: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "_shipped", lambda: known)
    names = [offer["method"] for offer in offers.offered(offers.Limits())["methods"]]
    assert tuple(name for name in names if name in NETWORKS) == known
    if known:
        assert offers.method_of("unet", None).title == "Network, then fast"
    else:
        with pytest.raises(BadInputError, match="unknown_method"):
            offers.method_of("unet", "fast")
