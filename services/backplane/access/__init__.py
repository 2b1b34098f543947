"""Who may see what, and do what, on the ports that people use: console, SQL, figures."""
