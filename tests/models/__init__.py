"""Small nnU-Net models in TotalSegmentator's layout, trained on phantoms, and how they are made."""
