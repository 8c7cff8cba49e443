"""Many runs: sweeps on one machine or a cluster, the report, the published tables (docs/map.md)."""
