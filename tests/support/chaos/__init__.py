"""What the fault tests are made of: a platform that is shot at, work that is watched, and the laws that must hold."""
