REPORT_COMMAND = shlex.join(
    ["lcsd", "report", RESULTS, "--manifest", BUILD.manifest, *BUILD.settings("report")]
)


rule report:
    input:
        lambda w: selected() or BUILD.targets(),
        # Roles and expected cases stand in the manifest.
        manifest=BUILD.manifest_present,
    output:
        # The page alone says nothing: after failures it exists, too.
        complete=touch(f"{RESULTS}/report/complete"),
        page=report(
            f"{RESULTS}/report/index.html",
            caption="../workflow/report/index.rst",
            category="Report of the build",
        ),
        table1=report(
            f"{RESULTS}/report/table1.csv",
            caption="../workflow/report/table1.rst",
            category="Tables",
        ),
        tre=report(
            f"{RESULTS}/report/tre.csv",
            caption="../workflow/report/tre.rst",
            category="Tables",
        ),
        rejected=report(
            f"{RESULTS}/report/rejected.tsv",
            caption="../workflow/report/rejected.rst",
            category="Tables",
        ),
    log:
        f"{LOGS}/report.log",
    params:
        command=REPORT_COMMAND,
    message:
        "Report of the build"
    shell:
        "{params.command} > {log:q} 2>&1"
