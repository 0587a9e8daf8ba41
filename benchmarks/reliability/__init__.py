"""Campaigns against whole builds: kills at random moments, and broken cases among good ones."""
