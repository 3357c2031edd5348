"""Replay, one metrics file per task, report."""
