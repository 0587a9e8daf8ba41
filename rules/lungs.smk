rule lungs:
    input:
        fixed=f"{CASE}/scans/fixed.nii.gz",
        moving=f"{CASE}/scans/moving.nii.gz",
        given=lambda w: BUILD.masks_present(w.case),
    output:
        fixed=f"{CASE}/lungs/fixed.nii.gz",
        moving=f"{CASE}/lungs/moving.nii.gz",
    log:
        f"{LOGS}/lungs/{{case}}.log",
    conda:
        "../environment.yml"
    params:
        fixed=lambda w: BUILD.option("--given", BUILD.pair(w.case).fixed_mask),
        moving=lambda w: BUILD.option("--given", BUILD.pair(w.case).moving_mask),
        settings=BUILD.settings("lungs"),
        rejected=REJECTED,
    message:
        "{wildcards.case}: lungs"
    shell:
        both_scans(
            'lcsd lungs {input.SCAN:q} {output.SCAN:q} {params.SCAN:q} {params.settings:q} "${{FETCH[@]}}"'
            " --threads {threads} --rejected {params.rejected:q}"
        )
