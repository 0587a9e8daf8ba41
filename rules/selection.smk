# Which candidates become cases, and which of these are for testing. Both choices take seconds, so
# they are made where snakemake runs, also of a build on a cluster.
TEST_COMMAND = shlex.join(
    [
        "lcsd",
        "select",
        RESULTS,
        "--test",
        "--manifest",
        BUILD.manifest,
        *BUILD.settings("select"),
    ]
)


if BUILD.candidates:

    rule screen:
        output:
            f"{RESULTS}/cohort/screening/{{case}}.json",
        log:
            f"{LOGS}/screen/{{case}}.log",
        resources:
            downloads=1,
            gpu=int(BUILD.on_gpu("screen")),
        params:
            fixed=lambda w: BUILD.candidates[w.case].fixed_series,
            moving=lambda w: BUILD.candidates[w.case].moving_series,
            masks=lambda w: BUILD.screen_masks(w.case),
            settings=BUILD.screen_settings() + BUILD.device("screen"),
        message:
            "{wildcards.case}: overlap of the lung masks"
        shell:
            case_job(
                "lcsd screen {params.fixed:q} {params.moving:q} --out {output:q} {params.masks:q}"
                ' {params.settings:q} "${{FETCH[@]}}"'
            )

    # The only checkpoint: which cases there are is known once all candidates have a verdict.
    checkpoint select:
        input:
            BUILD.screened(),
            candidates=BUILD.candidates_present,
        output:
            manifest=BUILD.manifest,
            table=f"{RESULTS}/cohort/selection.tsv",
            # Names once given stay.
            names=update(f"{RESULTS}/cohort/names.tsv"),
        log:
            f"{LOGS}/select.log",
        localrule: True
        params:
            results=RESULTS,
            candidates=BUILD.config.candidates,
            settings=BUILD.settings("select", "screen"),
        message:
            "Selection of the pairs with the strongest motion"
        shell:
            "lcsd select {params.results:q} --candidates {params.candidates:q} {params.settings:q}"
            " > {log:q} 2>&1"


rule test_cases:
    input:
        lambda w: selected() or BUILD.test_pool(),
        manifest=BUILD.manifest_present,
    output:
        f"{RESULTS}/cohort/test.tsv",
    log:
        f"{LOGS}/test_cases.log",
    localrule: True
    params:
        results=lambda w: RESULTS,
        manifest=lambda w: BUILD.manifest,
        settings=BUILD.settings("select"),
    message:
        "Choice of the test cases"
    shell:
        "lcsd select {params.results:q} --test --manifest {params.manifest:q}"
        " {params.settings:q} > {log:q} 2>&1"
