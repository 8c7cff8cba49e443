"""Speed, measured as ratios within one run and never as timed tests: absolute rates differ between processes."""
