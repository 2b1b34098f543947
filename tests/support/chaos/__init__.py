"""What the fault tests are made of: a platform that is killed, watched work, and the laws that must hold."""
