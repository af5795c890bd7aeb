"""What judges: a file per catalogue row, pure over snapshots; the file's name is the row's id."""
