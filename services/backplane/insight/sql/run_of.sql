-- In which run did this happen?
SELECT run_id FROM events WHERE event_id = {event:String} LIMIT 1
