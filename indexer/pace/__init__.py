"""When a run may begin to build: windows of time, and what a build is expected to take."""
