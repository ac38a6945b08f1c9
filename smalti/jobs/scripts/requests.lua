-- requests.lua: read the requests of jobs, as far as a client may see them.
-- KEYS  1 meta
-- ARGV  1 the client that asks   2 1 if it sees the jobs of all clients   3… job ids
-- Returns for each id {'FOUND', request, kept pixels, client}, {'DAMAGED'}, or {'MISSING'} if the client sees no such job.

local answers = {}
for place = 3, #ARGV do
  local job = find_for(ARGV[1], ARGV[2], ARGV[place])
  if not job then
    answers[#answers + 1] = {'MISSING'}
  elseif job.damaged then
    answers[#answers + 1] = {'DAMAGED'}
  else
    local f = redis.call('HMGET', job.key, 'request', 'kept')
    answers[#answers + 1] = {'FOUND', f[1], f[2], job.client}
  end
end
return answers
