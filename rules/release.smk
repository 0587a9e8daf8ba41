rule release:
    input:
        # Without rejected cases, which are counted and must not delay the others.
        lambda w: selected() or BUILD.targets(rejected=False),
        manifest=BUILD.manifest_present,
    output:
        # Not the folder: Snakemake would put a file of its own into it. Updated, and the archive
        # no output: Snakemake would remove them before the job, which replaces them at its end.
        update(f"{RESULTS}/release/SHA256SUMS"),
    log:
        f"{LOGS}/release.log",
    params:
        results=lambda w: RESULTS,
        folder=lambda w: f"{RESULTS}/release",
        manifest=lambda w: BUILD.manifest,
        settings=BUILD.settings("release"),
    message:
        "Publishable dataset of the build"
    shell:
        "lcsd release {params.results:q} {params.folder:q} --replace"
        " --manifest {params.manifest:q} {params.settings:q} --threads {threads} > {log:q} 2>&1"
