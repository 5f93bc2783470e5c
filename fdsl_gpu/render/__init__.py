"""Launchers of the primitives, points and contours and scenes of them: validate, allocate, choose the twin."""
