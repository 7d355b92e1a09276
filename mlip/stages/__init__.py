"""The stages of the pipeline, one file or folder each: settings, result, computing, section of the report."""
