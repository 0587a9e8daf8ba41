"""Made-up builds, as the report's tests use them, and scored ones."""

from tests.unit.evaluation.scored_builds import score
from tests.unit.report.conftest import make_case, results

__all__ = ["make_case", "results", "score"]
