"""Pure decisions: values in, values out; no clock, no ids made here, no I/O, no logging."""
