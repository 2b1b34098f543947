"""Roles: a file that says who may do what, and the plan that makes the platform's grants those of the file."""
