"""What every stage builds on and no physics: stages and runs, files, processes, progress, the report as data."""
