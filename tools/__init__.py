"""The main job and its helpers around the function: local cloud, soak, benchmarks, build."""
