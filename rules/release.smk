rule release:
    input:
        lambda w: selected() or BUILD.targets(),
        manifest=BUILD.manifest,
    output:
        # Not the folder: Snakemake would put a file of its own into it.
        f"{RESULTS}/release/SHA256SUMS",
        *[f"{RESULTS}/release.zip"] * BUILD.config.release.archive,
    log:
        f"{LOGS}/release.log",
    conda:
        "../environment.yml"
    params:
        results=lambda w: RESULTS,
        folder=lambda w: f"{RESULTS}/release",
        settings=BUILD.settings("release"),
    message:
        "Publishable dataset of the build"
    shell:
        # What an earlier build published is no part of this release.
        "rm -rf {params.folder:q}; "
        "lcsd release {params.results:q} {params.folder:q}"
        " --manifest {input.manifest:q} {params.settings:q} --threads {threads} > {log:q} 2>&1"
