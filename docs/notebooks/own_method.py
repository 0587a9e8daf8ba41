# %% [markdown]
# # Notebook: own method in the evaluation table
#
# A method of your own gets the same figures as the methods of the build. It needs one displacement field per case.
# Run the notebook *own pair of scans to report* first, in the same folder: this one uses its `results`.

# %%
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import SimpleITK as sitk
from scipy.spatial import cKDTree

case = Path("results/cases/own")

# %% [markdown]
# ## A method
#
# As an example, an affine map that lays each fixed keypoint on its nearest moving keypoint, 20 times. Yours goes here:
# anything that moves points of the baseline to the follow-up.

# %%
fixed = np.load(case / "clouds" / "fixed_keypoints.npz")["points"].astype(float)  # (N, 3), LPS mm
moving = np.load(case / "clouds" / "moving_keypoints.npz")["points"].astype(float)
tree = cKDTree(moving)
ones = np.ones((len(fixed), 1))
affine = np.vstack([np.eye(3), np.zeros(3)])  # (4, 3)
for _ in range(20):
    _, nearest = tree.query(np.hstack([fixed, ones]) @ affine)
    affine = np.linalg.lstsq(np.hstack([fixed, ones]), moving[nearest], rcond=None)[0]

# %% [markdown]
# ## Its field
#
# A field `u` over the baseline, in mm: a point `x` of the baseline is found in the follow-up at `x + u(x)`. SimpleITK
# writes it; `lcsd evaluate --help` lists other forms (ITK transforms, arrays, files of challenges).

# %%
grid = sitk.ReadImage(str(case / "images" / "fixed.nii.gz"))
transform = sitk.AffineTransform(affine[:3].T.ravel().tolist(), affine[3].tolist())
field = sitk.TransformToDisplacementField(
    transform, sitk.sitkVectorFloat64, grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection()
)
sitk.WriteImage(field, "mine.nii.gz")

# %% [markdown]
# ## Its score
#
# The landmarks are in the follow-up's own space, so `--rigid` names the rigid alignment of the build.


# %%
def lcsd(*words):
    """Run a command of lcsd; show what it prints, and stop if it fails."""
    done = subprocess.run(["lcsd", *map(str, words)], capture_output=True, text=True, check=False)
    print(done.stdout)
    if done.returncode:
        print(done.stderr[-2000:])
    done.check_returncode()


landmarks = Path("scans/phantom-0000-00/truth/landmarks.csv")
scores = case / "evaluation"
lcsd(
    *("evaluate", "--landmarks", landmarks, "--field", "mine.nii.gz", "--rigid", case / "images" / "rigid.tfm"),
    *("--method", "mine", "--out", scores / "mine.json", "--table", scores / "mine_landmarks.csv"),
)

# %% [markdown]
# ## The table

# %%
lcsd("compare", "results", "--out-dir", "comparison")
table = pd.read_csv("comparison/compare.csv")
table[["method", "tre_mean_mm", "tre_p95_mm", "folding_percent"]].round(2)

# %% [markdown]
# Errors at the landmarks of this case: the share of landmarks below each error.

# %%
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name in ("mine", "corrfield", "divroc"):
    errors = np.sort(pd.read_csv(scores / f"{name}_landmarks.csv")["tre_mm"])
    axis.step(errors, np.linspace(0, 100, len(errors)), where="post", label=name)
axis.set(xlabel="error at landmarks, mm", ylabel="landmarks, %", xlim=(0, None), ylim=(0, 100))
axis.legend()
plt.show()
