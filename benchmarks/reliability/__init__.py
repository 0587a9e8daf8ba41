"""Campaigns against complete builds: kills at random moments, and broken cases among good ones."""
