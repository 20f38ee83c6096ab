"""Filters of auditory models: formulae as plain functions, for sounds and spectrograms alike."""
