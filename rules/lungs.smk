MASKS = ("fixed_mask", "moving_mask")


rule lungs:
    input:
        fixed=rules.convert.output.fixed,
        moving=rules.convert.output.moving,
        given=if_given(MASKS, lambda w: BUILD.masks_present(w.case)),
    output:
        fixed=f"{CASE}/lungs/fixed.nii.gz",
        moving=f"{CASE}/lungs/moving.nii.gz",
    log:
        f"{LOGS}/lungs/{{case}}.log",
    resources:
        downloads=int(BUILD.downloads("mask")),
        gpu=int(BUILD.on_gpu("lungs")),
    params:
        fixed=if_given(MASKS, lambda w: BUILD.mask(w.case, "fixed")),
        moving=if_given(MASKS, lambda w: BUILD.mask(w.case, "moving")),
        settings=BUILD.settings("lungs") + BUILD.device("lungs"),
    message:
        "{wildcards.case}: lungs"
    shell:
        both_scans(
            'lcsd lungs {input.SCAN:q} {output.SCAN:q} {params.SCAN:q} {params.settings:q} "${{FETCH[@]}}"'
        )
