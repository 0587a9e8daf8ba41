"""Networks that guess the motion of a pair of clouds: a start for the optimisation."""
