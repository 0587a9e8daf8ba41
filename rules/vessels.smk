rule vessels:
    input:
        image=f"{CASE}/images/{{scan}}.nii.gz",
        lungs=f"{CASE}/images/{{scan}}_mask.nii.gz",
        # A given vessel map is in its scan's native space: the follow-up's comes through rigid.tfm.
        rigid=lambda w: BUILD.given_vessels_rigid(w.case, w.scan),
        given=lambda w: BUILD.present(
            BUILD.pair(w.case).given_vessels(w.scan),
            f"cases/{w.case}/vessels/{w.scan}.nii.gz",
        ),
    output:
        f"{CASE}/vessels/{{scan}}.nii.gz",
    log:
        f"{LOGS}/vessels/{{case}}_{{scan}}.log",
    benchmark:
        f"{BENCHMARKS}/vessels/{{case}}_{{scan}}.tsv"
    conda:
        "../environment.yml"
    params:
        given=lambda w: BUILD.option(
            "--given", BUILD.pair(w.case).given_vessels(w.scan)
        ),
        rigid=lambda w, input: BUILD.option("--rigid", input.get("rigid")),
        settings=BUILD.settings("vessels"),
        rejected=REJECTED,
    message:
        "{wildcards.case}: vessels of the {wildcards.scan} scan"
    shell:
        "lcsd vessels {input.image:q} {output:q} --lungs {input.lungs:q} {params.given:q}"
        " {params.rigid:q} {params.settings:q} --threads {threads}"
        " --rejected {params.rejected:q} > {log:q} 2>&1"
