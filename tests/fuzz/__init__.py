"""A fuzzer over every topic and port of a platform, with a run that must go on after each batch: ``make fuzz``."""
