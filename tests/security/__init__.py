"""Nobody does, reads or says more than a right allows, whatever is written or asked."""
