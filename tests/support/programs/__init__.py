"""Programs that tests start as providers."""
