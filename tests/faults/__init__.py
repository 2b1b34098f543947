"""Nothing is lost and nothing done twice, whatever is killed."""
