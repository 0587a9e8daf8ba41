"""One case of a build: what there is of it, why it would be made again, and making it again."""

from lcsd.case.again import command
from lcsd.case.show import Shown, show
from lcsd.case.show import text as show_text
from lcsd.case.why import Cause, why
from lcsd.case.why import text as why_text

__all__ = ["Cause", "Shown", "command", "show", "show_text", "why", "why_text"]
