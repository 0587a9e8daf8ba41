rule lungs:
    input:
        scan=f"{CASE}/scans/{{scan}}.nii.gz",
        given=lambda w: BUILD.present(
            BUILD.pair(w.case).given_mask(w.scan),
            f"cases/{w.case}/lungs/{w.scan}.nii.gz",
        ),
    output:
        f"{CASE}/lungs/{{scan}}.nii.gz",
    log:
        f"{LOGS}/lungs/{{case}}_{{scan}}.log",
    benchmark:
        f"{BENCHMARKS}/lungs/{{case}}_{{scan}}.tsv"
    conda:
        "../environment.yml"
    params:
        given=lambda w: BUILD.option("--given", BUILD.pair(w.case).given_mask(w.scan)),
        settings=BUILD.settings("lungs"),
        rejected=REJECTED,
    message:
        "{wildcards.case}: lungs of the {wildcards.scan} scan"
    shell:
        "lcsd lungs {input.scan:q} {output:q} {params.given:q} {params.settings:q}"
        " --threads {threads} --rejected {params.rejected:q} > {log:q} 2>&1"
