"""Launchers of the two primitives, points and contours: validate, allocate, choose the twin."""
