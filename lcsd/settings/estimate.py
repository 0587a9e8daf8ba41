"""Settings of the estimate: what Snakemake and a cluster add to the work of the stages."""

from pydantic import Field

from lcsd.settings.base import Settings


class EstimateSettings(Settings):
    """Hours, disk and jobs of a build, from a finished one (docs/scale.md has the measurements)."""

    command_start_s: float = Field(
        0.6,
        ge=0,
        description="of a command before its own clock starts and after it stops, s; taken where "
        "the finished build does not tell it",
    )
    plan_start_s: float = Field(2.0, ge=0, description="of Snakemake before it plans, s")
    plan_job_s: float = Field(0.0016, ge=0, description="of planning, for each job, s")
    plan_start_gib: float = Field(0.1, ge=0, description="memory of Snakemake without jobs, GiB")
    plan_job_gib: float = Field(2.0e-5, ge=0, description="of it for each planned job, GiB")
    loop_s: float = Field(
        0.03,
        ge=0,
        description="of Snakemake with its default scheduler (ilp) for each job that ended, before the next starts, s",
    )
    loop_ready_s: float = Field(1.6e-4, ge=0, description="of that more for each job that is ready at that moment, s")
    greedy_loop_s: float = Field(
        0.017, ge=0, description="the same as loop_s where the profile says scheduler: greedy, s"
    )
    greedy_loop_ready_s: float = Field(
        2.1e-5, ge=0, description="the same as loop_ready_s where the profile says scheduler: greedy, s"
    )
    report_start_s: float = Field(2.0, ge=0, description="of the report without cases, s")
    report_case_s: float = Field(0.1, ge=0, description="of the report for each case, s")
    report_page_s: float = Field(
        5.0, ge=0, description="of the report for each page of a case and each picture on the overview, s"
    )
    screen_align_s: float = Field(
        2.4,
        ge=0,
        description="of screening beside convert and lungs, s; taken where the finished build has screened nothing",
    )
    pair_download_gb: float = Field(0.178, ge=0, description="both series of a pair of NLST, 10^9 bytes (docs/nlst.md)")
    submit_per_s: float = Field(5.0, gt=0, description="cluster: jobs submitted one after the other, 1/s")
    job_start_s: float = Field(
        5.0, ge=0, description="cluster: from a node's slot to the work: Snakemake starts there twice, 2.6 s each, s"
    )
    job_start_case_s: float = Field(
        8e-5, ge=0, description="cluster: of that more for each case of the manifest, which every job reads, s"
    )
    poll_s: float = Field(10.0, ge=0, description="cluster: between two looks for jobs that ended, s")
    most_submitted: int = Field(
        1000,
        gt=0,
        description="cluster: jobs submitted and unfinished at a time, where the profile does not "
        "say it by jobs; the scheduler's own limit, such as MaxSubmitJobs, must be as large, count",
    )
    head_memory_gib: float = Field(8.0, gt=0, description="memory that Snakemake may take where it runs, GiB")
