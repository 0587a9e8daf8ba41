rule prealign:
    input:
        fixed=f"{CASE}/scans/fixed.nii.gz",
        moving=f"{CASE}/scans/moving.nii.gz",
        fixed_mask=f"{CASE}/lungs/fixed.nii.gz",
        moving_mask=f"{CASE}/lungs/moving.nii.gz",
    output:
        multiext(
            f"{CASE}/images/",
            "fixed.nii.gz",
            "moving.nii.gz",
            "fixed_mask.nii.gz",
            "moving_mask.nii.gz",
            "rigid.tfm",
            "prealign.json",
        ),
    log:
        f"{LOGS}/prealign/{{case}}.log",
    conda:
        "../environment.yml"
    params:
        out_dir=f"{CASE}/images",
        settings=BUILD.settings("prealign"),
    message:
        "{wildcards.case}: rigid pre-alignment to the common grid"
    shell:
        case_job(
            "lcsd prealign {input.fixed:q} {input.moving:q} --fixed-mask {input.fixed_mask:q}"
            " --moving-mask {input.moving_mask:q} --out-dir {params.out_dir:q} {params.settings:q}"
        )
