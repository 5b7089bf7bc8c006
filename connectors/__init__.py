"""The doors: HTTP routes, the intake and one file per platform. Imports the lane side of engine only, never the model."""
