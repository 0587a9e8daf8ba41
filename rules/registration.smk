# Made by `cloud` or by `keypoints`.
CLOUDS = {"dense": rules.cloud.output, "keypoints": rules.keypoints.output}[
    BUILD.config.workflow.registration_cloud
]


rule register:
    input:
        fixed=CLOUDS.fixed,
        moving=CLOUDS.moving,
        grid=rules.prealign.output.fixed,
    output:
        multiext(
            f"{CASE}/registration/", "field.nii.gz", "points.npz", "registration.json"
        ),
    log:
        f"{LOGS}/register/{{case}}.log",
    threads: BUILD.threads()
    resources:
        gpu=int(BUILD.on_gpu("register")),
    params:
        out_dir=f"{CASE}/registration",
        settings=BUILD.settings("register")
        + BUILD.field_options()
        + BUILD.device("register"),
    message:
        "{wildcards.case}: DiVRoC registration"
    shell:
        case_job(
            "lcsd register {input.fixed:q} {input.moving:q} --grid {input.grid:q}"
            " --out-dir {params.out_dir:q} {params.settings:q}"
        )
