"""Commands that need no run: datasets from labels, frames to label next, exports, runs of earlier versions."""
