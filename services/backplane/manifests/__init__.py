"""What can be called: manifests read, checked, compared and put into the registry."""
