rule release:
    input:
        lambda w: selected() or BUILD.targets(),
        manifest=BUILD.manifest,
    output:
        directory(f"{RESULTS}/release"),
        *[f"{RESULTS}/release.zip"] * BUILD.config.release.archive,
    log:
        f"{LOGS}/release.log",
    conda:
        "../environment.yml"
    params:
        results=lambda w: RESULTS,
        settings=BUILD.settings("release"),
    message:
        "Publishable dataset of the build"
    shell:
        "lcsd release {params.results:q} --manifest {input.manifest:q} {params.settings:q}"
        " --threads {threads} > {log:q} 2>&1"
