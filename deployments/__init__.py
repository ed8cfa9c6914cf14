"""The models, one file each, and the commands around them."""
