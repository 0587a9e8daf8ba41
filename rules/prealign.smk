rule prealign:
    input:
        fixed=rules.convert.output.fixed,
        moving=rules.convert.output.moving,
        fixed_mask=rules.lungs.output.fixed,
        moving_mask=rules.lungs.output.moving,
    output:
        multiext(
            f"{CASE}/images/",
            fixed="fixed.nii.gz",
            moving="moving.nii.gz",
            fixed_mask="fixed_mask.nii.gz",
            moving_mask="moving_mask.nii.gz",
            rigid="rigid.tfm",
            report="prealign.json",
        ),
    log:
        f"{LOGS}/prealign/{{case}}.log",
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
