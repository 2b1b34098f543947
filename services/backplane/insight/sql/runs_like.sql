-- Which runs begin with these characters? For people, who type the first ones only.
SELECT DISTINCT run_id
FROM events
WHERE kind = 'RunStarted' AND startsWith(run_id, {prefix:String})
ORDER BY run_id DESC
LIMIT 3
