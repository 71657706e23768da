"""The embedded data set `questions` and a small English text, the project's own work; README.md says more."""
