rule evaluate:
    input:
        landmarks=lambda w: BUILD.landmarks_present(w.case, w.method),
        field=lambda w: f"{CASE}/{BUILD.methods[w.method]}/field.nii.gz",
        rigid=rules.prealign.output.rigid,
        mask=rules.prealign.output.fixed_mask,
    output:
        metrics=f"{CASE}/evaluation/{{method}}.json",
        table=f"{CASE}/evaluation/{{method}}_landmarks.csv",
    log:
        f"{LOGS}/evaluate/{{case}}_{{method}}.log",
    params:
        landmarks=lambda w: BUILD.landmarks(w.case),
        frame=lambda w: BUILD.pair(w.case).landmarks_frame,
        settings=BUILD.settings("evaluate"),
    message:
        "{wildcards.case}: landmark errors of {wildcards.method}"
    shell:
        case_job(
            "lcsd evaluate --landmarks {params.landmarks:q} --landmarks-frame {params.frame}"
            " --field {input.field:q} --rigid {input.rigid:q} --mask {input.mask:q}"
            " --out {output.metrics:q} --table {output.table:q} {params.settings:q}"
        )
