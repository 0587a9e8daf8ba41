rule cloud:
    input:
        fixed=rules.vessels.output.fixed,
        moving=rules.vessels.output.moving,
    output:
        fixed=f"{CASE}/clouds/fixed_dense.npz",
        moving=f"{CASE}/clouds/moving_dense.npz",
    log:
        f"{LOGS}/cloud/{{case}}.log",
    params:
        settings=BUILD.settings("cloud"),
    message:
        "{wildcards.case}: dense clouds"
    shell:
        both_scans(
            "lcsd cloud {input.SCAN:q} {output.SCAN:q} --case {wildcards.case:q} {params.settings:q}"
        )


rule keypoints:
    input:
        fixed=rules.cloud.output.fixed,
        moving=rules.cloud.output.moving,
    output:
        fixed=f"{CASE}/clouds/fixed_keypoints.npz",
        moving=f"{CASE}/clouds/moving_keypoints.npz",
    log:
        f"{LOGS}/keypoints/{{case}}.log",
    params:
        settings=BUILD.settings("keypoints"),
    message:
        "{wildcards.case}: sparse clouds"
    shell:
        both_scans("lcsd keypoints {input.SCAN:q} {output.SCAN:q} {params.settings:q}")
