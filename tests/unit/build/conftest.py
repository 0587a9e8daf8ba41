"""Made-up builds, as the report's tests use them."""

from tests.unit.report.conftest import make_case, results

__all__ = ["make_case", "results"]
