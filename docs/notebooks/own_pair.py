# %% [markdown]
# # Notebook: own pair of scans to report
#
# From two NIfTI files of the same lungs to a report: a manifest, one command, and a look at the result. The pair here
# is a small phantom, so that the notebook runs in a minute; put your own two files in its place.

# %%
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd


def lcsd(*words):
    """Run a command of lcsd; show what it prints, and stop if it fails."""
    done = subprocess.run(["lcsd", *map(str, words)], capture_output=True, text=True, check=False)
    print(done.stdout)
    if done.returncode:
        print(done.stderr[-2000:])
    done.check_returncode()


# %% [markdown]
# ## Two scans
#
# `lcsd phantom` writes a baseline and a follow-up whose motion is known, with landmarks.

# %%
lcsd("phantom", "scans", "--cases", 1, "--size", "tiny")
own = Path("scans/phantom-0000-00")

# %% [markdown]
# ## A manifest and settings
#
# One row per pair. Landmarks are optional; with them, the report has errors in mm. The settings below are for this tiny
# phantom only: **leave them out for your own scans**, whose voxels are those the defaults were chosen for.

# %%
row = {
    "case": "own",
    "patient_id": "patient-1",
    "role": "train",
    "fixed_source": own / "fixed.nii.gz",
    "moving_source": own / "moving.nii.gz",
    "fixed_time": "T0",
    "moving_time": "T1",
    "landmarks": own / "truth" / "landmarks.csv",
    "landmarks_frame": "native",
}
pd.DataFrame([row]).to_csv("pairs.tsv", sep="\t", index=False)

Path("tiny.yaml").write_text("""
workflow: {field_mm: 6.0}
prealign: {size: [112, 96, 112], spacing_mm: 3.0}
gates: {points: {}, correspondences: {}, survival: {}}
keypoints: {min_points: 300}
correspond: {search_radius: [9, 5]}
register:
  levels:
    - {raster_mm: 6.0, flow_mm: 6.0, sigma_voxels: 1.0, iterations: 40}
    - {raster_mm: 4.0, flow_mm: 5.0, sigma_voxels: 1.0, iterations: 40}
""")

# %% [markdown]
# ## The build
#
# Every stage, from the scans to the report. The same call resumes it after a crash.

# %%
lcsd("run", "--manifest", "pairs.tsv", "--results", "results", "--config", "tiny.yaml", "--", "--quiet", "all")

# %% [markdown]
# ## The result
#
# `results/report/index.html` is the report. Its table has the error at the landmarks, before and after:

# %%
table = pd.read_csv("results/report/tre.csv")
table[["case", "method", "tre_before_mean_mm", "tre_mean_mm", "tre_p95_mm", "folding_percent"]].round(2)

# %% [markdown]
# The follow-up on the baseline's voxels: magenta and green where the two differ.

# %%
case = Path("results/cases/own")
lcsd(
    "warp",
    case / "images" / "moving.nii.gz",
    "warped.nii.gz",
    "--transform",
    case / "registration" / "field.nii.gz",
    "--reference",
    case / "images" / "fixed.nii.gz",
)


def coronal(path):
    volume = nibabel.load(path)
    middle = volume.shape[1] // 2
    grey = np.clip((np.asarray(volume.dataobj)[:, middle].T[::-1] + 1000) / 1200, 0, 1)
    return grey, volume.header.get_zooms()[2] / volume.header.get_zooms()[0]


baseline, aspect = coronal(case / "images" / "fixed.nii.gz")
figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
for axis, name, title in zip(
    axes, (case / "images" / "moving.nii.gz", "warped.nii.gz"), ("before", "after"), strict=True
):
    other, _ = coronal(name)
    axis.imshow(np.stack([baseline, other, baseline], axis=-1), aspect=aspect)
    axis.set_title(title)
    axis.axis("off")
plt.show()
