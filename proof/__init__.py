"""What proves the claims of revision 10992629d68e: ``verify`` asks the planner, ``bench`` takes the time."""
