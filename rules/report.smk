REPORT_COMMAND = shlex.join(["lcsd", "report", RESULTS, "--manifest", BUILD.manifest])


rule report:
    input:
        lambda w: selected() or BUILD.targets(),
        # Roles and expected cases stand in the manifest.
        manifest=BUILD.manifest,
    output:
        # Not the page itself: after failures it exists, too, and the build would seem finished.
        touch(f"{RESULTS}/report/complete"),
    log:
        f"{LOGS}/report.log",
    conda:
        "../environment.yml"
    params:
        command=REPORT_COMMAND,
    message:
        "Report of the build"
    shell:
        "{params.command} > {log:q} 2>&1"
