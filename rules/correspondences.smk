rule correspond:
    input:
        fixed=f"{CASE}/images/fixed.nii.gz",
        moving=f"{CASE}/images/moving.nii.gz",
        mask=f"{CASE}/images/fixed_mask.nii.gz",
    output:
        pairs=f"{CASE}/correspondences/correspondences.csv",
        field=f"{CASE}/correspondences/field.nii.gz",
        report=f"{CASE}/correspondences/correspondences.json",
    log:
        f"{LOGS}/correspond/{{case}}.log",
    conda:
        "../environment.yml"
    resources:
        gpu=int(BUILD.on_gpu("correspond")),
    params:
        settings=BUILD.settings("correspond") + BUILD.device("correspond"),
    message:
        "{wildcards.case}: corrfield correspondences"
    shell:
        case_job(
            "lcsd correspond {input.fixed:q} {input.moving:q} --fixed-mask {input.mask:q}"
            " --out {output.pairs:q} --field {output.field:q} {params.settings:q}"
        )
