"""One case of a build: what there is of it, why it would be made again, and making it again."""

from lcsd.case.again import command
from lcsd.case.causes import Cause, why
from lcsd.case.causes import text as why_text
from lcsd.case.listing import Shown, show
from lcsd.case.listing import text as show_text

__all__ = ["Cause", "Shown", "command", "show", "show_text", "why", "why_text"]
