"""Actors as an application declares, configures and sends them: typed."""
