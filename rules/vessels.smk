MAPS = ("fixed_vessels", "moving_vessels")


rule vessels:
    input:
        fixed=rules.prealign.output.fixed,
        moving=rules.prealign.output.moving,
        fixed_lungs=rules.prealign.output.fixed_mask,
        moving_lungs=rules.prealign.output.moving_mask,
        # A given vessel map is in its scan's native space: the follow-up's comes through this.
        rigid=rules.prealign.output.rigid,
        given=if_given(MAPS, lambda w: BUILD.vessels_present(w.case)),
    output:
        fixed=f"{CASE}/vessels/fixed.nii.gz",
        moving=f"{CASE}/vessels/moving.nii.gz",
    log:
        f"{LOGS}/vessels/{{case}}.log",
    resources:
        gpu=int(BUILD.on_gpu("vessels")),
    params:
        fixed=if_given(
            MAPS, lambda w: BUILD.option("--given", BUILD.pair(w.case).fixed_vessels)
        ),
        moving=if_given(
            MAPS,
            lambda w, input: BUILD.given_moving_vessels(w.case, rigid=input.rigid),
        ),
        settings=BUILD.settings("vessels") + BUILD.device("vessels"),
    message:
        "{wildcards.case}: vessels"
    shell:
        both_scans(
            "lcsd vessels {input.SCAN:q} {output.SCAN:q} --lungs {input.SCAN_lungs:q}"
            " {params.SCAN:q} {params.settings:q}"
        )
