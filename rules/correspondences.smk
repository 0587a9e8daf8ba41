rule correspond:
    input:
        fixed=rules.prealign.output.fixed,
        moving=rules.prealign.output.moving,
        mask=rules.prealign.output.fixed_mask,
    output:
        pairs=f"{CASE}/correspondences/correspondences.csv",
        field=f"{CASE}/correspondences/field.nii.gz",
        report=f"{CASE}/correspondences/correspondences.json",
    log:
        f"{LOGS}/correspond/{{case}}.log",
    threads: BUILD.threads()
    resources:
        gpu=int(BUILD.on_gpu("correspond")),
    params:
        settings=BUILD.settings("correspond")
        + BUILD.field_options()
        + BUILD.device("correspond"),
    message:
        "{wildcards.case}: corrfield correspondences"
    shell:
        case_job(
            "lcsd correspond {input.fixed:q} {input.moving:q} --fixed-mask {input.mask:q}"
            " --out {output.pairs:q} --field {output.field:q} {params.settings:q}"
        )
