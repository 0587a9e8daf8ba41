# The build of a dataset: cases of a manifest through every stage to a report.
from snakemake.utils import min_version

min_version("9.0")


# Of 'snakemake --report', beside the captions in rules/report.smk.
report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/selection.smk"
include: "rules/scans.smk"
include: "rules/lungs.smk"
include: "rules/prealign.smk"
include: "rules/vessels.smk"
include: "rules/clouds.smk"
include: "rules/correspondences.smk"
include: "rules/registration.smk"
include: "rules/evaluation.smk"
include: "rules/gates.smk"
include: "rules/release.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        rules.report.output.complete,


onstart:
    record(BUILD)
    gc.freeze()
    gc.enable()


# Jobs were lost or failed: the report is made over what exists and names the rejected cases.
onerror:
    if BUILD.has_test_pool():
        shell("{TEST_COMMAND} || true")
    # The overview only: pages of the cases take seconds each, and come with the next whole build.
    shell("rm -f {RESULTS:q}/report/complete; {REPORT_COMMAND} --pages 0")
    print(f"snakemake: {BUILD.summary()}", file=sys.stderr)


# A broken scan of a candidate fails no job, since the others are selected without it.
onsuccess:
    print(f"report: {RESULTS}/report/index.html", file=sys.stderr)
    if BUILD.candidates and BUILD.rejected():
        sys.exit(BUILD.summary())
