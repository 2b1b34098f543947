-- How many facts of a run are in the store, those about what came after its end included?
SELECT count() AS rows
FROM events
WHERE run_id = {run:String}
