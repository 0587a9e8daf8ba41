"""Estimates in which Snakemake and the report take no time."""

from lcsd.config import Config
from lcsd.estimate.estimate import Estimate, estimate
from lcsd.estimate.measures import Measures
from lcsd.estimate.profile import Profile
from lcsd.estimate.question import Options, Question, ask
from lcsd.settings.estimate import EstimateSettings
from tests.unit.estimate.builds import THREADS

FREE = EstimateSettings(
    command_start_s=0,
    plan_start_s=0,
    plan_job_s=0,
    loop_s=0,
    loop_ready_s=0,
    greedy_loop_s=0,
    greedy_loop_ready_s=0,
    report_start_s=0,
    report_case_s=0,
    report_page_s=0,
    job_start_s=0,
    job_start_case_s=0,
    poll_s=0,
    submit_per_s=1e9,
    screen_align_s=0,
)
BARE = Profile({}, {}, {})
TWO = Profile(THREADS, {}, {})
"""With the threads that were measured."""


def answer(
    measures: Measures,
    settings: EstimateSettings = FREE,
    *,
    profile: Profile = BARE,
    config: Config | None = None,
    **options: object,
) -> Estimate:
    asked = question(measures, settings, profile=profile, config=config, **options)
    return estimate(measures, asked, profile=profile, settings=settings)


def question(
    measures: Measures,
    settings: EstimateSettings = FREE,
    *,
    profile: Profile = BARE,
    config: Config | None = None,
    **options: object,
) -> Question:
    one = {} if config else {"pairs": 1}
    given = Options(**{"cores": 1, **one, **options})  # type: ignore[arg-type]
    return ask(given, config=config, profile=profile, measures=measures, settings=settings)
