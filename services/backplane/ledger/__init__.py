"""The ledger: reads bp.commands in order, decides by the pure core, writes the facts in one transaction a group."""
