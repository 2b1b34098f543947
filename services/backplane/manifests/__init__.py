"""The manifests of capabilities: read, checked, compared and put into the registry."""
