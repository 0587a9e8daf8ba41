REPORT_COMMAND = (
    f"lcsd report {shlex.quote(RESULTS)} --manifest {shlex.quote(BUILD.manifest)}"
)


rule report:
    input:
        BUILD.targets(),
        # Roles and expected cases stand in the manifest.
        manifest=BUILD.manifest,
    output:
        f"{RESULTS}/report/index.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    conda:
        "../environment.yml"
    params:
        command=REPORT_COMMAND,
    message:
        "Report of the build"
    shell:
        "{params.command} > {log:q} 2>&1"
