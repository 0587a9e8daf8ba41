"""Commands that look at a build: status, case, verify, doctor."""
