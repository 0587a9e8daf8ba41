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
    resources:
        downloads=int(BUILD.downloads()),
        gpu=int(BUILD.on_gpu("lungs")),
    params:
        fixed=lambda w: BUILD.mask(w.case, "fixed"),
        moving=lambda w: BUILD.mask(w.case, "moving"),
        settings=BUILD.settings("lungs") + BUILD.device("lungs"),
        rejected=REJECTED,
    message:
        "{wildcards.case}: lungs"
    shell:
        both_scans(
            'lcsd lungs {input.SCAN:q} {output.SCAN:q} {params.SCAN:q} {params.settings:q} "${{FETCH[@]}}"'
            " --threads {threads} --rejected {params.rejected:q}"
        )
