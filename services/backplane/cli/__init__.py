"""The command ``backplane``: one file a group of commands, loaded only when one of them is called."""
