"""What a run will need before it begins: the size of each index, the time, the room to sort in and the WAL."""
