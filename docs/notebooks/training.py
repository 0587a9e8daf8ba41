# %% [markdown]
# # Notebook: training on a release
#
# A release of a build, read as tensors, and a training loop. Run the notebook *own pair of scans to report* first, in
# the same folder. Its build has one pair, so this shows the interface and not a useful network.

# %%
import subprocess

import matplotlib.pyplot as plt
import torch
from torch.utils.data import DataLoader

from lcsd.data import Augment, LCSDataset, collate

# %% [markdown]
# ## The release
#
# It holds clouds, vessel maps, correspondences and the rigid alignment, without names of patients.

# %%
done = subprocess.run(
    ["lcsd", "release", "results", "release", "--set", "source=phantom"], capture_output=True, text=True, check=False
)
print(done.stdout)
if done.returncode:
    print(done.stderr[-2000:])
done.check_returncode()

# %% [markdown]
# ## Samples
#
# `LCSDataset` takes a folder, or an address such as `hf://datasets/owner/name`. Points are drawn by seed and epoch, and
# `Augment` moves clouds and correspondences alike.

# %%
augment = Augment(rotation_deg=5, shift_mm=5, jitter_mm=0.2)
dataset = LCSDataset("release", "train", points=256, normalise=True, transform=augment, seed=0)
loader = DataLoader(dataset, batch_size=2, shuffle=True, collate_fn=collate)
{name: tuple(value.shape) for name, value in dataset[0].items() if isinstance(value, torch.Tensor)}

# %% [markdown]
# ## A loop
#
# A small network moves each fixed point as the correspondences suggest. `collate` pads clouds of different sizes, so a
# mask says which points count.

# %%
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
losses = []
for epoch in range(150):
    dataset.set_epoch(epoch)
    for batch in loader:
        fixed, moving = batch["correspondences"].unbind(dim=2)
        error = (fixed + network(fixed) - moving).norm(dim=-1)
        loss = error[batch["correspondences_mask"]].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

# %%
figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
axis.semilogy(losses)
axis.set(xlabel="step", ylabel="mean error, normalised")
plt.show()
print(f"first {losses[0]:.4f}, last {losses[-1]:.4f}")
