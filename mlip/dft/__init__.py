"""DFT single points: engines, the queue of frames to label, the store of labels."""
