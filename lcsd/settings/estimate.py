"""Settings of the estimate: time and memory that Snakemake and a cluster add to the stages."""

from pydantic import Field

from lcsd.settings.base import Settings


class EstimateSettings(Settings):
    """Hours, disk and jobs of a build, from a finished one (docs/scale.md has the measurements)."""

    command_start_s: float = Field(
        0.6,
        ge=0,
        description="start and end of a command outside its own clock, s; used if the finished build does not show it",
    )
    plan_start_s: float = Field(2.0, ge=0, description="start of Snakemake before it plans, s")
    plan_job_s: float = Field(0.0016, ge=0, description="planning of one job, s")
    plan_start_gib: float = Field(0.1, ge=0, description="memory of Snakemake without jobs, GiB")
    plan_job_gib: float = Field(2.0e-5, ge=0, description="memory of Snakemake for one planned job, GiB")
    loop_s: float = Field(
        0.03,
        ge=0,
        description="pause of Snakemake between a job that ended and the next start, with its default scheduler (ilp), "
        "s",
    )
    loop_ready_s: float = Field(
        1.6e-4, ge=0, description="addition to loop_s for each job that is ready at that moment, s"
    )
    greedy_loop_s: float = Field(0.017, ge=0, description="like loop_s, with the scheduler greedy in the profile, s")
    greedy_loop_ready_s: float = Field(
        2.1e-5, ge=0, description="like loop_ready_s, with the scheduler greedy in the profile, s"
    )
    report_start_s: float = Field(2.0, ge=0, description="report without cases, s")
    report_case_s: float = Field(0.1, ge=0, description="report of one case, s")
    report_page_s: float = Field(5.0, ge=0, description="report: one page of a case, or one picture on the overview, s")
    screen_align_s: float = Field(
        2.4,
        ge=0,
        description="alignment in screening, without convert and lungs, s; used if the finished build has screened "
        "nothing",
    )
    pair_download_gb: float = Field(0.178, ge=0, description="both series of an NLST pair, 10^9 bytes (docs/nlst.md)")
    submit_per_s: float = Field(5.0, gt=0, description="cluster: jobs submitted per second, 1/s")
    job_start_s: float = Field(
        5.0,
        ge=0,
        description="cluster: from a free node to the start of the work, s; Snakemake starts there twice, 2.6 s each",
    )
    job_start_case_s: float = Field(
        8e-5,
        ge=0,
        description="cluster: addition to job_start_s for each case of the manifest, which every job reads, s",
    )
    poll_s: float = Field(10.0, ge=0, description="cluster: time between two checks for jobs that ended, s")
    max_submitted: int = Field(
        1000,
        gt=0,
        description="cluster: largest number of submitted, unfinished jobs if the profile has no key jobs, count; the "
        "scheduler's own limit, such as MaxSubmitJobs, must be as large",
    )
    head_memory_gib: float = Field(8.0, gt=0, description="memory that Snakemake may use where it runs, GiB")
