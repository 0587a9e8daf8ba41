"""Methods of one or several builds side by side, on the cases that all of them have."""
