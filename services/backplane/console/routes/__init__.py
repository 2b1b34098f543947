"""The pages, one module each: what is asked of where, and which template shows it."""
