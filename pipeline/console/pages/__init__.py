"""The pages, one file each: what a page shows, and what its forms do. They run on the loop and ask the read model."""
