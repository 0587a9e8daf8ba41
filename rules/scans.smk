rule convert:
    input:
        lambda w: BUILD.present(
            BUILD.pair(w.case).source(w.scan), f"cases/{w.case}/scans/{w.scan}.nii.gz"
        ),
    output:
        f"{CASE}/scans/{{scan}}.nii.gz",
    log:
        f"{LOGS}/convert/{{case}}_{{scan}}.log",
    benchmark:
        f"{BENCHMARKS}/convert/{{case}}_{{scan}}.tsv"
    conda:
        "../environment.yml"
    params:
        source=lambda w: BUILD.pair(w.case).source(w.scan),
        settings=BUILD.settings("convert"),
        rejected=REJECTED,
    message:
        "{wildcards.case}: {wildcards.scan} scan to volume"
    shell:
        "lcsd convert {params.source:q} {output:q} {params.settings:q} --threads {threads}"
        " --rejected {params.rejected:q} > {log:q} 2>&1"
