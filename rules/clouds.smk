rule cloud:
    input:
        f"{CASE}/vessels/{{scan}}.nii.gz",
    output:
        cloud=f"{CASE}/clouds/{{scan}}_dense.npz",
        gates=f"{CASE}/clouds/{{scan}}_dense.gates.json",
    log:
        f"{LOGS}/cloud/{{case}}_{{scan}}.log",
    benchmark:
        f"{BENCHMARKS}/cloud/{{case}}_{{scan}}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=BUILD.settings("cloud"),
        rejected=REJECTED,
    message:
        "{wildcards.case}: dense cloud of the {wildcards.scan} scan"
    shell:
        "lcsd cloud {input:q} {output.cloud:q} --gates {output.gates:q}"
        " --case {wildcards.case:q} {params.settings:q}"
        " --threads {threads} --rejected {params.rejected:q} > {log:q} 2>&1"


rule keypoints:
    input:
        f"{CASE}/clouds/{{scan}}_dense.npz",
    output:
        f"{CASE}/clouds/{{scan}}_keypoints.npz",
    log:
        f"{LOGS}/keypoints/{{case}}_{{scan}}.log",
    benchmark:
        f"{BENCHMARKS}/keypoints/{{case}}_{{scan}}.tsv"
    conda:
        "../environment.yml"
    params:
        settings=BUILD.settings("keypoints"),
        rejected=REJECTED,
    message:
        "{wildcards.case}: sparse cloud of the {wildcards.scan} scan"
    shell:
        "lcsd keypoints {input:q} {output:q} {params.settings:q} --threads {threads}"
        " --rejected {params.rejected:q} > {log:q} 2>&1"
