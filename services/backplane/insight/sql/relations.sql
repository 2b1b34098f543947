-- Which tables and views are there to ask, and what are they for?
SELECT name, engine, comment
FROM system.tables
WHERE database = currentDatabase() AND name != 'migrations' AND NOT startsWith(name, '.')
ORDER BY engine = 'View' DESC, name
