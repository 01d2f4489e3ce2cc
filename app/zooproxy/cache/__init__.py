"""What is held: blobs by their sha256, and the index that says which source each one came from."""
