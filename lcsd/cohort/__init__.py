"""Candidate pairs from the index of the Imaging Data Commons: parse, filter, pair, sample."""
