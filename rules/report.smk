REPORT_COMMAND = f"lcsd report {shlex.quote(RESULTS)} --manifest {shlex.quote(BUILD.manifest)}"


rule report:
    message:
        "Report of the build"
    input:
        BUILD.targets(),
    output:
        f"{RESULTS}/report/index.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    params:
        command=REPORT_COMMAND,
    conda:
        "../environment.yml"
    shell:
        "{params.command} > {log:q} 2>&1"
