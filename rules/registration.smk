rule register:
    input:
        fixed=f"{CASE}/clouds/fixed_{BUILD.config.workflow.registration_cloud}.npz",
        moving=f"{CASE}/clouds/moving_{BUILD.config.workflow.registration_cloud}.npz",
        grid=f"{CASE}/images/fixed.nii.gz",
    output:
        multiext(
            f"{CASE}/registration/", "field.nii.gz", "points.npz", "registration.json"
        ),
    log:
        f"{LOGS}/register/{{case}}.log",
    conda:
        "../environment.yml"
    resources:
        gpu=int(BUILD.on_gpu("register")),
    params:
        out_dir=f"{CASE}/registration",
        settings=BUILD.settings("register") + BUILD.device("register"),
    message:
        "{wildcards.case}: DiVRoC registration"
    shell:
        case_job(
            "lcsd register {input.fixed:q} {input.moving:q} --grid {input.grid:q}"
            " --out-dir {params.out_dir:q} {params.settings:q}"
        )
