"""How far a build is, told from its files while it may be running."""

from lcsd.status.engine import Engine
from lcsd.status.speed import Records
from lcsd.status.states import Snapshot, snapshot
from lcsd.status.summary import Status, line, status, text

__all__ = ["Engine", "Records", "Snapshot", "Status", "line", "snapshot", "status", "text"]
