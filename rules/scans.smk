rule convert:
    input:
        lambda w: BUILD.sources_present(w.case),
    output:
        fixed=f"{CASE}/scans/fixed.nii.gz",
        moving=f"{CASE}/scans/moving.nii.gz",
    log:
        f"{LOGS}/convert/{{case}}.log",
    resources:
        downloads=int(BUILD.downloads("source")),
    params:
        fixed=lambda w: BUILD.source(w.case, "fixed"),
        moving=lambda w: BUILD.source(w.case, "moving"),
        settings=BUILD.settings("convert"),
    message:
        "{wildcards.case}: scans to volumes"
    shell:
        case_job(
            'lcsd convert {params.fixed:q} {output.fixed:q} {params.settings:q} "${{FETCH[@]}}"',
            "lcsd convert {params.moving:q} {output.moving:q} --baseline {params.fixed:q}"
            ' {params.settings:q} "${{FETCH[@]}}"',
        )
