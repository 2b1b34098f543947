"""One attempt at one provider: how each kind of provider is asked, and how its answer or failure is read."""
