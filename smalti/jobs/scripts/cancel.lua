-- cancel.lua: stop a job. Waiting samples are cancelled now, running ones at their worker's next commit or when its lease
-- ends. Ended samples stay, and a job that has ended does not change.
-- KEYS  1 meta
-- ARGV  1 job id   2 the client that asks   3 1 if it sees the jobs of all clients
-- Returns 'CANCELLED' even if it had ended before, 'DAMAGED', or 'MISSING' if the client sees no such job.

local job = find_for(ARGV[2], ARGV[3], ARGV[1])
if not job then return 'MISSING' end
if job.damaged then return 'DAMAGED' end
if not GOES_ON[job.state] then return 'CANCELLED' end

allow_beyond_memory_limit()
stop(job, '')
conclude()
announce(job.id)
return 'CANCELLED'
