"""The sessions of a run: how they are opened, set up, watched and ended, and what their errors mean."""
