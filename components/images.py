"""The images that the components run in, built by `.github/workflows/images.yml`.

Whoever compiles the graph sets registry and tag in the environment; a laptop runs the components in its own
Python.
"""

import os

REGISTRY = os.environ.get("CARRYFLOW_IMAGE_REGISTRY", "ghcr.io/carryflow")
TAG = os.environ.get("CARRYFLOW_IMAGE_TAG", "0.1.0")

PIPELINE_IMAGE = f"{REGISTRY}/pipeline-python:{TAG}"
TRAINING_IMAGE = f"{REGISTRY}/training-python:{TAG}"
