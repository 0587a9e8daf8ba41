rule gates:
    input:
        fixed=rules.vessels.output.fixed,
        moving=rules.vessels.output.moving,
        fixed_lungs=rules.prealign.output.fixed_mask,
        moving_lungs=rules.prealign.output.moving_mask,
        scans=[rules.convert.output.fixed, rules.convert.output.moving],
        masks=[rules.lungs.output.fixed, rules.lungs.output.moving],
        images=[rules.prealign.output.fixed, rules.prealign.output.moving],
        prealign=rules.prealign.output.report,
        fields=[rules.correspond.output.field, f"{CASE}/registration/field.nii.gz"],
        matches=rules.correspond.output.report,
        evaluations=lambda w: BUILD.evaluations(w.case),
    output:
        f"{CASE}/gates.json",
    log:
        f"{LOGS}/gates/{{case}}.log",
    params:
        evaluations=lambda w: BUILD.evaluation_options(w.case),
        settings=BUILD.settings("gates"),
    message:
        "{wildcards.case}: plausibility of lungs, alignment, vessels and registration"
    shell:
        case_job(
            "lcsd gates {input.fixed:q} {input.moving:q} --fixed-lungs {input.fixed_lungs:q}"
            " --moving-lungs {input.moving_lungs:q} --scans {input.scans:q} --masks {input.masks:q}"
            " --images {input.images:q} --prealign {input.prealign:q} --fields {input.fields:q} --matches {input.matches:q}"
            " {params.evaluations:q} --out {output:q} {params.settings:q}"
        )
