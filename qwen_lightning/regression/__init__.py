"""Regression: scores, paired significance, red lines and the ladder of actions; pure functions, no torch."""
