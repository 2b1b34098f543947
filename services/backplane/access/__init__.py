"""Rights of people and programs on the ports that they use: console, SQL, figures."""
