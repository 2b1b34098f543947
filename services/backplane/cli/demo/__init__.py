"""``backplane demo``: a whole run on this machine, from a question to a published page, and the record of it."""
